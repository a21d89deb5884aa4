"""`relattn report`: run folders as tables in the papers' layout, with curves, costs and pictures on a single page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.cli.options import own_path, say
from relattn.errors import InputError, MissingFileError
from relattn.runs.run_folder import contained, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from relattn.sweeps.grid import Sweep
    from relattn.sweeps.records import Records
    from relattn.sweeps.table import Table

EXAMPLES = """examples:
  relattn report runs/reid                              runs side by side, seeds averaged
  relattn report runs/sweeps/rga_table1
  relattn report runs/sweeps/rga_table1 runs/sweeps/rga_table2 --table rga_table2 --out report/table2
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn report",
        description="Write report.html, and each table as Markdown, CSV and LaTeX, from the folders of runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=own_path, help="folders of runs, or of sweeps")
    parser.add_argument("--table", action="append", default=[], help="a sweep file or its name; by default the runs'")
    parser.add_argument(
        "--out", type=own_path, default=Path("report"), help="folder to write; an earlier report in it is replaced"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Write a report."""
    options = parse(arguments)
    for folder in options.folders:
        if not folder.is_dir():
            raise MissingFileError(f"relattn report: there is no folder {folder}.")
    from rich.console import Console

    from relattn.cli.sweep import find
    from relattn.printable import in_one_line
    from relattn.sweeps import grid, records

    found = records.read(options.folders)
    if not found.runs:
        raise InputError(f"relattn report: no runs are in {', '.join(map(str, options.folders))}.")
    files = [find(name) for name in options.table] or files_of(found)
    console = Console()
    sweeps, left_out = [], []
    for file in files:
        try:
            sweeps.append(grid.load(file))
        except InputError as error:
            if options.table:
                raise
            left_out.append(str(error))  # the file is a copy in a run's folder
    asked = bool(options.table)
    tables, unread = tables_of([sweep for sweep in sweeps if asked or "table" in sweep.content], found, asked=asked)
    for line in (*left_out, *unread):
        say(console, in_one_line(f"left out: {line}"))
    if later := later_tests(tables, found):
        say(
            console,
            f"left out: {len(later)} later {'test' if len(later) == 1 else 'tests'} of these runs, as {later[0]}.",
        )
        say(console, "To see them, give their folders to `relattn report`.")
    written = write(tables, found, options.out)
    for filled in tables:
        print_table(filled, console)
    for run in found.runs:
        if run.damage:
            console.print(
                in_one_line(f"{run.folder}: {run.why}"), style="yellow", markup=False, highlight=False, soft_wrap=True
            )
    say(console, f"report: {written}")
    return 0


def tables_of(sweeps: "Sequence[Sweep]", found: "Records", *, asked: bool = True) -> "tuple[list[Table], list[str]]":
    """The tables of sweeps, then those of other runs, by task; and the errors of sweeps that cannot be read.

    Args:
        sweeps: The sweeps.
        found: The runs.
        asked: Whether the user named the sweeps. Copies in run folders may come from other people, so a copy that
            cannot be read is left out.
    """
    from relattn.sweeps import comparison, table

    tables, unread = [], []
    for sweep in sweeps:
        try:
            tables.append(table.fill(sweep, found, cells_of(sweep, found, asked=asked)))
        except (InputError, AttributeError, TypeError, ValueError, KeyError) as error:
            if asked or is_of_catalogue(sweep.path):
                raise
            unread.append(f"{sweep.path} has a table that cannot be read: {error}")
    placed = {id(record) for filled in tables for record in filled.records}
    return [*tables, *comparison.compare([run for run in found.runs if id(run) not in placed])], unread


def later_tests(tables: "Sequence[Table]", found: "Records") -> list[Path]:
    """The folders of tests that were made of runs later, with `relattn test`, and are in none of the tables."""
    shown = {score.folder for filled in tables for score in filled.scores}
    files = (file for run in found.runs for file in sorted(run.folder.glob("*/result.json")))
    return [file.parent for file in files if file.parent.name not in shown and is_scored(file)]


def is_scored(result: Path) -> bool:
    """Whether a result has scores of a test, and is not one of predictions."""
    return any(str(name).startswith("test/") for name in (read_json(result) or {}).get("scores") or {})


def is_of_catalogue(file: Path) -> bool:
    """Whether a sweep file is the suite's, and not a copy in a run's folder, which may come from other people."""
    return file.resolve().is_relative_to(catalogue.conf().resolve())


def cells_of(sweep: "Sweep", found: "Records", *, asked: bool) -> "dict[tuple[str, str], Any] | None":
    """The options of a sweep's cells, if runs from elsewhere may belong to them and no plan lists them; else None.

    Finding them requires parsing command lines, which imports classes by name. So this is never done for a copy in a
    run's folder, unless the user asked for it by its path.
    """
    from relattn.cli.sweep import resolver
    from relattn.sweeps import plan
    from relattn.sweeps.ledger import Ledger

    known = found.ledgers.get(sweep.name, Ledger())
    if not asked and not is_of_catalogue(sweep.path):
        return None
    foreign = (run for run in found.runs if run.sweep.get("sweep") != sweep.name)
    others = [run for run in foreign if run.folder.resolve() not in known.runs]
    if known.cells or not any(run.decisive for run in others):
        return None
    runs = plan.plan(sweep, Path("runs"), resolver(with_data=False))
    return {(run.row, run.column): run.cell_options for run in runs}


def write(tables: "list[Table]", found: "Records", folder: Path) -> Path:
    """Write the page, and each table as Markdown, CSV and LaTeX; return the path of the page.

    Raises:
        InputError: If a file with one of these names exists and is not from a report; then nothing is written.
    """
    from relattn.publish import publish_text
    from relattn.sweeps import page, text

    contents: dict[Path, str] = {}
    for filled in tables:
        contents[folder / f"{filled.name}.md"] = text.markdown(filled)
        contents[folder / f"{filled.name}.csv"] = text.comma_separated(filled)
        contents[folder / f"{filled.name}.tex"] = text.latex(filled)
    contents[folder / "report.html"] = page.render(tables, found.runs)
    marks = {
        ".md": text.MARKDOWN_MARK,
        ".tex": text.LATEX_MARK,
        ".html": page.MARK,
        ".csv": ",".join(text.CSV_COLUMNS),
    }
    for file in contents:
        check_replaceable(file, marks[file.suffix].encode())
    for file in sorted(folder.glob("*")):  # tables of an earlier report that this one does not have
        replaced = file not in contents and file.suffix in marks and contained(file)
        if replaced and marks[file.suffix].encode() in file.read_bytes():
            file.unlink()
    for file, content in contents.items():
        publish_text(file, content)
    return folder / "report.html"


def check_replaceable(file: Path, mark: bytes) -> None:
    """Refuse to overwrite a file that is not from a report.

    Raises:
        InputError: If there is such a file, or it cannot be read.
    """
    try:
        if not file.exists() or mark in file.read_bytes():
            return
    except OSError as error:
        raise InputError(f"{file} is in the place of a report's file: {error.strerror or error}.") from error
    raise InputError(
        f"{file} was not written by `relattn report`, which would replace it: choose another --out, or move it away."
    )


def files_of(found: "Records") -> list[Path]:
    """The sweep files of the plans that were found, and of runs that are in no plan.

    These are the files in the catalogue, which may have changed since, or else the copies from when they ran.
    """
    planned = {folder for ledger in found.ledgers.values() for folder in ledger.runs}
    places = {name: ledger.folder for name, ledger in found.ledgers.items()}
    for run in found.runs:
        if run.folder.resolve() not in planned:
            places.setdefault(str(run.sweep.get("sweep", "")), run.folder.parent)
    files = {}
    for name, place in places.items():
        if not name or Path(name).name != name:
            continue
        current = catalogue.conf() / "sweep" / f"{name}.yaml"
        for file in (current, *([place / f"{name}.yaml"] if place is not None else [])):
            if file.is_file():
                files[name] = file
                break
    return list(files.values())


def show(sweep: "Sweep", places: list[Path], console: "Console") -> None:
    """Print the current table of a sweep."""
    from relattn.sweeps import records, table

    print_table(table.fill(sweep, records.read(places)), console)


def print_table(filled: "Table", console: "Console") -> None:
    """Print a table."""
    from rich.markup import escape
    from rich.table import Table as RichTable

    from relattn.sweeps.text import compared

    places = [(column, score) for column in filled.columns for score in filled.scores]
    shown = RichTable(show_lines=True)
    shown.add_column("")
    for column, score in places:
        shown.add_column(escape(filled.heading(column, score)), justify="right")
    for row in filled.rows:
        texts = []
        for column, score in places:
            cell = filled.cells[row, column, score.label]
            text = escape(compared(filled, cell, "\n"))
            texts.append(f"[bold]{text}[/]" if cell.best else text)
        shown.add_row(escape(filled.label(row)), *texts)
    console.print(filled.title, style="bold", markup=False, highlight=False)
    console.print(shown)
    count = len(filled.missing)
    lacking = [f"{count} {'cell lacks' if count == 1 else 'cells lack'} runs."] if count else []
    for note in (*filled.notes, *filled.differing, *lacking):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
