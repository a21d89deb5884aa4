"""What the site has beyond the pages in docs/: tasks' READMEs, commands and catalogue.

Nothing is written twice: READMEs are read where they lie, and `<!-- commands -->` and its like in a page are replaced
by what the program itself says. Links that lead out of the site become the path in the repository.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from relattn.cli import catalogue
from relattn.cli.main import COMMANDS, TRAINER_COMMANDS, trainer_usage

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    **{f"tasks/{readme.parent.name}.md": readme for readme in sorted(ROOT.glob("tasks/*/README.md"))},
}
"""Pages that are not in docs/, and their files."""

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for uri, file in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in what is generated, and mend links for the place that the page has in the site."""
    source = Path(page.file.abs_src_path).resolve()
    for marker, generate in GENERATED.items():
        if marker in markdown:
            markdown = markdown.replace(marker, generate())
    uris = {Path(file.abs_src_path).resolve(): file.src_uri for file in files if file.abs_src_path}

    def mended(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        path = (source.parent / target).resolve()
        if path in uris:
            uri = posixpath.relpath(uris[path], posixpath.dirname(page.file.src_uri) or ".")
            return f"{image}[{text}]({uri}{anchor})"
        if not path.exists() or ROOT not in path.parents:
            return match[0]  # leads nowhere: the strict build says so
        name = path.relative_to(ROOT).as_posix()
        return f"[{text}]({config.repo_url}/blob/main/{name})" if config.repo_url else f"`{name}`"

    parts = FENCE.split(markdown)  # code is at the odd places
    return "".join(part if place % 2 else LINK.sub(mended, part) for place, part in enumerate(parts))


def commands() -> str:
    """A section for each command: its own help."""
    usage, _, _ = trainer_usage("fit").partition(catalogue.text())  # names are listed on pages of their own
    sections = [f"## fit\n\n{block(usage)}"]
    others = {name: summary for name, summary in TRAINER_COMMANDS.items() if name != "fit"}
    sections += [
        f"## {name}\n\n{summary[0].upper()}{summary[1:]}; the options are those of [fit](#fit)."
        for name, summary in others.items()
    ]
    sections += [f"## {name}\n\n{block(help_of(module))}" for name, (module, _) in sorted(COMMANDS.items())]
    return "\n\n".join(sections)


def help_of(module: str) -> str:
    """What `relattn COMMAND --help` prints."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            importlib.import_module(module).main(["--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return printed.getvalue()


def block(text: str) -> str:
    """Text as it stands."""
    return f"```text\n{text.strip()}\n```"


def beside(name: str) -> Any:
    """A module that lies beside this file, which is on no path."""
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def listed(heading: str, choices: dict[str, str]) -> str:
    """A table of names and what they are."""
    rows = "\n".join(f"| `{name}` | {summary} |" for name, summary in choices.items())
    return f"| {heading} | |\n|---|---|\n{rows}"


GENERATED = {
    "<!-- commands -->": commands,
    "<!-- task recipes -->": lambda: listed("`--task`", catalogue.recipes("task")),
    "<!-- data sets -->": lambda: listed("`--data`", catalogue.recipes("data")),
    "<!-- backbones -->": lambda: listed("`--backbone`", catalogue.FAMILIES),
    "<!-- model cards -->": lambda: beside("model_cards").model_cards(),
    "<!-- paper tables -->": lambda: beside("paper_tables").paper_tables(),
    "<!-- sweeps -->": lambda: listed("`relattn sweep`", catalogue.recipes("sweep")),
}
