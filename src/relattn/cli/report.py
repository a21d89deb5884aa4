"""`relattn report`: run folders as tables in the papers' layout, with curves, costs and pictures on one page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from rich.console import Console

    from relattn.sweeps.grid import Sweep
    from relattn.sweeps.records import Record
    from relattn.sweeps.table import Table

EXAMPLES = """examples:
  relattn report runs/sweeps/rga_table1
  relattn report runs/sweeps/rga_table1 runs/sweeps/rga_table2 --table rga_table2 --output report/table2
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn report",
        description="Write report.html, and each table as Markdown and CSV, from the folders of runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs, or of sweeps")
    parser.add_argument("--table", action="append", default=[], help="a sweep file or its name; by default the runs'")
    parser.add_argument("--output", type=Path, default=Path("report"), help="folder to write")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Write a report."""
    options = parse(arguments)
    for folder in options.folders:
        if not folder.is_dir():
            raise MissingFileError(f"relattn report: there is no folder {folder}.")
    from rich.console import Console

    from relattn.cli.sweep import find
    from relattn.sweeps import comparability, grid, records, table

    found = records.read(options.folders)
    if not found:
        raise InputError(f"relattn report: no runs are in {', '.join(map(str, options.folders))}.")
    files = [find(name) for name in options.table] or files_of(found)
    sweeps = [grid.load(file) for file in files]
    tables = [table.fill(sweep, found) for sweep in sweeps if options.table or "table" in sweep.content]
    console = Console()
    written = write(tables, found, options.output)
    for filled in tables:
        print_table(filled, console)
    in_tables = {id(record) for filled in tables for record in filled.records}
    for warning in comparability.differences([record for record in found if id(record) not in in_tables]):
        console.print(warning, style="yellow", markup=False, highlight=False)
    console.print(f"report: {written}", highlight=False, soft_wrap=True)
    return 0


def write(tables: "list[Table]", found: "list[Record]", folder: Path) -> Path:
    """Write the page, and each table as Markdown and CSV; returns the page's path."""
    from relattn.sweeps import page, text

    folder.mkdir(parents=True, exist_ok=True)
    for filled in tables:
        (folder / f"{filled.sweep.name}.md").write_text(text.markdown(filled))
        (folder / f"{filled.sweep.name}.csv").write_text(text.comma_separated(filled))
    (folder / "report.html").write_text(page.render(tables, found))
    return folder / "report.html"


def files_of(records: "list[Record]") -> list[Path]:
    """The sweep files of runs: those of the catalogue, which may say more by now, or as they were when they ran."""
    files = {}
    for record in records:
        name = str(record.sweep.get("sweep", ""))
        if Path(name).name != name:
            raise InputError(f"{record.folder / 'sweep.json'}: sweep is {name!r}, expected the name of a file.")
        current, copy = catalogue.conf() / "sweep" / f"{name}.yaml", record.folder.parent / f"{name}.yaml"
        if name and (current.is_file() or copy.is_file()):
            files[name] = current if current.is_file() else copy
    return list(files.values())


def show(sweep: "Sweep", places: list[Path], console: "Console") -> None:
    """Print the table of a sweep so far."""
    from relattn.sweeps import records, table

    print_table(table.fill(sweep, records.read(places), sweep.plan()), console)


def print_table(filled: "Table", console: "Console") -> None:
    """Print a table."""
    from rich.markup import escape
    from rich.table import Table as RichTable

    from relattn.sweeps.text import compared

    places = [(column, score) for column in filled.columns for score in filled.scores]
    caption = "\n".join(
        [*filled.notes, *filled.differing, *([f"{len(filled.missing)} cells lack runs"] if filled.missing else [])]
    )
    shown = RichTable(title=escape(filled.title), show_lines=True, caption=escape(caption) or None)
    shown.add_column("")
    for column, score in places:
        shown.add_column(escape(filled.heading(column, score)), justify="right")
    for row in filled.rows:
        shown.add_row(escape(filled.label(row)), *(compared(filled.cells[row, c, s.label], "\n") for c, s in places))
    console.print(shown)
