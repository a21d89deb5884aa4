"""The notebooks run from top to bottom, confirm their text, define nothing, and are stored without outputs."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks need more: pip install -e '.[notebooks]'")
nbclient = pytest.importorskip("nbclient", reason="notebooks need more: pip install -e '.[notebooks]'")
pytest.importorskip("ipykernel", reason="notebooks need more: pip install -e '.[notebooks]'")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["1_attention_tour", "2_people", "3_relations_and_modes", "4_from_sweep_to_report", "5_faces"]


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_of(notebook) -> list[str]:
    """The Python code of the cells, without IPython magics and shell-script cells."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [re.sub(r"^%.*$", "", source, flags=re.MULTILINE) for source in cells if not source.startswith("%%")]


# --- As they are committed --------------------------------------------------------------------------------------------


def test_these_are_the_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES
    page = (ROOT / "docs" / "notebooks.md").read_text()
    assert all(f"{name}.ipynb" in page for name in NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_an_execution_is_kept(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    }
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_and_uses_public_names(path: Path) -> None:
    for source in code_of(read(path)):
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda), source
            names = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [part for alias in node.names for part in alias.name.split(".")]
                names += (getattr(node, "module", None) or "").split(".")
            elif isinstance(node, ast.Attribute):
                names = [node.attr]
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            assert not private, f"{private} in {source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_says_what_will_be_seen_and_how_long_it_takes(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert re.search(r"You will .*\*\*about (\d+ seconds|a minute)\*\*", first.source, re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_what_there_is(path: Path) -> None:
    """The tests that run the notebooks are slow; this one quickly finds names that have moved."""
    for source in code_of(read(path)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relattn"):
                for alias in node.names:
                    found = hasattr(importlib.import_module(node.module), alias.name)
                    assert found or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                        f"{node.module} {alias.name}"
                    )


# --- As they run ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def temporary_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for the notebooks' temporary folders, which a hastily stopped kernel does not remove."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))


def executed(name: str, folder: Path) -> dict[str, str]:
    """Run the cells of a notebook in a folder; return their outputs as text and as `<picture>`, by the cells' names."""
    notebook = read(ROOT / "notebooks" / f"{name}.ipynb")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return {cell.id: "".join(map(shown, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def shown(output) -> str:
    if output.output_type == "stream":
        return output.text
    data = output.data
    if any(kind in data for kind in ("image/png", "image/jpeg")):
        return "<picture>"
    return data.get("text/markdown", data["text/plain"])


def row_of(table: str, name: str) -> list[str]:
    """The cells of a row of a Markdown table, after its name."""
    (row,) = (line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def numbers(table: str, name: str) -> list[float]:
    return [float(cell.replace(",", "")) for cell in row_of(table, name) if cell]


@pytest.mark.slow
def test_the_tour_of_attention(tmp_path: Path) -> None:
    given = executed("1_attention_tour", tmp_path)
    assert given["one-module"] == "torch.Size([2, 256, 64, 32])"
    assert "RGA(256, size=(64, 32))" in given["no-size"]
    assert row_of(given["table"], "plain")[0] == "23,508,032"
    overview = (ROOT / "docs" / "attention" / "README.md").read_text()  # which the tests of the documentation check
    for name, recipe in {"RGA-SC": "rga_sc", "non-local": "nl", "StRA": "stra", "ECA, from timm": "eca"}.items():
        (documented,) = re.findall(rf"^\| `{recipe}` .* (\S+) \|$", overview, re.MULTILINE)
        assert row_of(given["table"], name)[1] == documented.replace("\N{MINUS SIGN}", "-")
    differences = re.findall(r"largest difference (\S+)", given["by-hand"])
    assert len(differences) == 2
    assert all(float(value) < 1e-12 for value in differences)
    (_, factored), (_, materialised) = (numbers(given["measured-costs"], name) for name in ("factored", "materialised"))
    assert 5 * factored < materialised  # memory; times depend on the machine
    assert given["capture"].count("'spatial': (3, 1, ") == 2
    assert row_of(given["kinds-of-maps"], "StRA")[0].count("`") == 10
    for picture in ("architecture", "people", "mask-pictures"):
        assert given[picture].endswith("<picture>")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_people(tmp_path: Path) -> None:
    given = executed("2_people", tmp_path)
    names = ("raw pixels", "ResNet-8", "ResNet-8 + RGA-SC")
    pixels, plain, attended = (numbers(given["table"], name) for name in names)
    assert plain[0] > 1.5 * pixels[0]  # mAP: something was learned
    assert attended[0] > 1.5 * pixels[0]
    here, recorded = re.search(r"mAP here (\S+), in result.json (\S+)", given["load"]).groups()
    assert float(here) == pytest.approx(float(recorded), abs=0.02)
    assert f"{float(recorded):.1f}" == row_of(given["table"], "ResNet-8 + RGA-SC")[0]
    assert "person 1, camera" in given["nearest"]
    for picture in ("preview", "ranked", "grad-cam", "mask-figure"):
        assert given[picture].endswith("<picture>")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_relations_and_modes(tmp_path: Path) -> None:
    given = executed("3_relations_and_modes", tmp_path)
    table = given["spread-table"]
    assert numbers(table, "simplified non-local") == [0.0]
    before, after = zip(*(numbers(table, name) for name in ("non-local", "RGA-S")), strict=True)
    assert after[0] > before[0]  # training makes the maps depend more on the target
    assert after[1] > before[1]
    assert after[1] > after[0]  # and in RGA more than in the non-local block
    table = given["diversity-table"]
    scores = [numbers(given["train"], name)[0] for name in ("StRA", "StRA without diversity")]
    assert scores[0] < scores[1]
    with_term, without = (numbers(table, f"{name}, after") for name in ("StRA", "StRA without diversity"))
    assert numbers(table, "before training")[0] < 0.1
    assert with_term[0] > without[0] + 0.1  # masks
    assert with_term[2] > without[2]  # coefficients
    for picture in ("relation-maps", "modes-figure"):
        assert given[picture].endswith("<picture>")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_from_a_sweep_to_a_report(tmp_path: Path) -> None:
    given = executed("4_from_sweep_to_report", tmp_path)
    assert "4 runs, in runs/sweeps/small" in given["dry-run"]
    assert "4 of 4 runs finished" in given["sweep"]
    assert "4 of 4 runs have finished before." in given["sweep"]
    assert {"report.html", "small.csv", "small.md"} <= set(given["write-report"].split())
    runs = [line.split("|") for line in given["results"].splitlines()[2:]]
    assert [(run[1].strip(), run[2].strip()) for run in runs] == [
        (attention, seed) for attention in ("none", "rga_sc") for seed in "01"
    ]
    scores = [float(run[-2]) for run in runs]
    mean = (scores[0] + scores[1]) / 2
    assert float(row_of(given["table"], "ResNet-8")[0].strip("*").partition("†")[0]) == pytest.approx(mean, abs=0.06)
    assert float(row_of(given["table"], "raw pixels")[0].strip("*").partition("†")[0]) < min(scores)
    assert given["plot"].endswith("<picture>")
    assert "9 runs, in runs/sweeps/rga_arxiv_table7" in given["paper"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_faces(tmp_path: Path) -> None:
    given = executed("5_faces", tmp_path)
    pixels, network = (numbers(given["table"], name) for name in ("grey pixels", "ResNet-8 + StRA"))
    assert network[-1] > pixels[-1] + 5  # the mean of the packs
    assert "5 verification sets of 40 pairs" in given["features"]
    for picture in ("preview", "hills-figure", "pairs", "modes-figure"):
        assert given[picture].endswith("<picture>")
    assert not list(tmp_path.iterdir())
