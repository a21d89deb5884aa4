"""The documentation site builds without warnings and is complete, and its examples of additions work."""

import contextlib
import html
import importlib
import inspect
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from PIL import Image

import relattn.attention
from relattn.attention import RGA
from relattn.backbones import build
from relattn.cli import catalogue
from relattn.cli.main import COMMANDS, TRAINER_COMMANDS, run
from relattn.errors import InputError
from relattn.tasks.samplers import SampleIndex

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "docs" / "mkdocs" / "mkdocs.yml"
FILES = dict(
    re.findall(r'```(?:python|yaml) title="([^"]+)"\n(.*?)```', (ROOT / "docs" / "adding.md").read_text(), re.DOTALL)
)

EVIDENCE = sorted((ROOT / "benchmarks" / "results").glob("evidence_*.json"))

# --- The site ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(CONFIG), "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_command_has_its_section_with_its_options(site: Path) -> None:
    page = (site / "commands.html").read_text()
    for command in [*TRAINER_COMMANDS, *COMMANDS]:
        assert f'<h2 id="{command}">' in page
    for command in COMMANDS:
        section = page.partition(f'<h2 id="{command}">')[2].partition("<h2 ")[0]
        assert f"usage: relattn {command}" in section
    assert "--gpus_per_run" in page
    assert "--ckpt_path FILE" in page


def test_every_attention_is_in_the_overview_and_every_page_of_one_in_the_site(site: Path) -> None:
    overview = (site / "attention" / "index.html").read_text()
    for name in catalogue.recipes("attention"):
        assert f"<code>{name}</code>" in overview, name
    for page in (ROOT / "docs" / "attention").glob("[a-z]*.md"):
        assert (site / "attention" / f"{page.stem}.html").is_file()
        assert f'href="{page.stem}.html"' in overview


def test_every_task_recipe_data_set_and_sweep_is_listed(site: Path) -> None:
    page = (site / "tasks.html").read_text()
    for name in [*catalogue.recipes("task"), *catalogue.recipes("data"), *catalogue.recipes("sweep")]:
        assert f"<code>{name}</code>" in page, name
    for readme in ROOT.glob("tasks/*/README.md"):
        assert f'href="tasks/{readme.parent.name}.html"' in page
        assert (site / "tasks" / f"{readme.parent.name}.html").is_file()


def test_formulas_are_marked_and_nothing_is_left_to_fill_in(site: Path) -> None:
    assert '<div class="arithmatex">' in (site / "attention" / "rga.html").read_text()
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(
            r"<!-- (commands|task recipes|data sets|backbones|sweeps|model cards|paper tables) -->", text
        ), page
        if "arithmatex" in text:
            assert "mathjax" in text


def test_the_api_has_every_attention_module_and_its_arguments(site: Path) -> None:
    page = (site / "api.html").read_text()
    for name in relattn.attention.__all__:
        assert f'id="relattn.attention.{name}"' in page, name
    assert "reduction_ratio" in page


def test_a_card_has_the_numbers_of_its_runs(site: Path) -> None:
    page = (site / "model_cards.html").read_text()
    for file in EVIDENCE:
        runs = json.loads(file.read_text())["runs"]
        for label in {one["label"] for one in runs}:
            scores = [one["scores"]["test/score"] for one in runs if one["label"] == label]
            spread = f" ± {np.std(scores, ddof=1):.2f}" if len(scores) > 1 else ""
            assert f"{np.mean(scores):.2f}{spread}" in page
            assert html.escape(label) in page
    assert "<code>rga_table1</code>" in (site / "reproducing.html").read_text()


def test_links_lead_from_page_to_page(site: Path) -> None:
    page = (site / "results.html").read_text()
    assert 'id="what-it-costs"' in page
    assert 'href="tasks/reid.html"' in page
    assert 'href="../results.html#what-it-costs"' in (site / "attention" / "rga.html").read_text()


PAGES = [
    *(page for page in (ROOT / "docs").rglob("*.md") if page.name != "adding.md"),
    *ROOT.glob("tasks/*/README.md"),
    ROOT / "README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_that_are_shown_name_what_there_is(page: Path) -> None:
    known = {**catalogue.sections(), **{f"--{kind}": catalogue.recipes(kind) for kind in ("trainer", "logger")}}
    del known["--backbone"]
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if (match := re.match(r"(?:srun )?relattn (\w+)(.*)", line.strip())) is None:
                continue
            command, rest = match.groups()
            assert command in {*TRAINER_COMMANDS, *COMMANDS}, line
            if command in TRAINER_COMMANDS:
                for flag, value in re.findall(r"(--(?:task|attention|data|trainer|logger)) (\w+)(?=\s|$)", rest):
                    assert value in known[flag], line
            else:
                options = re.findall(r"(?<=\s)--\w+(?=\s|$)", rest.partition("#")[0])
                assert {*options} <= options_of(command), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_that_the_text_names_exist(page: Path) -> None:
    named = re.findall(r"--(model|data|trainer)\.(\w+)", page.read_text())
    assert [f"--{part}.{name}" for part, name in named if name not in arguments_of(part)] == []


@cache
def arguments_of(part: str) -> set[str]:
    """The arguments of all the suite's tasks, of all their data sets, or of the trainer."""
    kinds = {"model": LightningModule, "data": LightningDataModule}
    packages = [importlib.import_module(f"relattn.tasks.{task}") for task in catalogue.task_folders("demo.py")]
    classes = [cls for package in packages for _, cls in inspect.getmembers(package, inspect.isclass)]
    chosen = [Trainer] if part == "trainer" else [cls for cls in classes if issubclass(cls, kinds[part])]
    bases = {base for cls in chosen for base in inspect.getmro(cls) if "__init__" in vars(base)}
    arguments = {name for base in bases for name in inspect.signature(base).parameters}
    return arguments | {"init_args", "class_path", "help"}


@cache
def options_of(command: str) -> set[str]:
    """The options in the help of a command; those of `data` are of `make` and `check`, which accepts all of fit's."""
    printed = io.StringIO()
    for arguments in [["--help"], ["check", "--help"]] if command == "data" else [["--help"]]:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            run([command, *arguments])
    return set(re.findall(r"--\w+", printed.getvalue())) | ({"--data"} if command == "data" else set())


# --- What is added ----------------------------------------------------------------------------------------------------


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, as modules outside the repository."""
    places = {
        "src/relattn/attention": "mine_attention",
        "src/relattn/backbones": "mine_backbones",
        "tasks/classification": "mine_data",
        "tasks/rotation": "mine_rotation",
    }
    for name, content in FILES.items():
        folder, _, file = name.rpartition("/")
        path = tmp_path / places.get(folder, folder) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("relattn.tasks.rotation", "mine_rotation"))
    photos = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 40, 40, 3), dtype=np.uint8)
    for split, classes in zip(("train", "test"), photos, strict=True):
        for label, images in zip(("cats", "dogs"), classes, strict=True):
            folder = tmp_path / "data" / "photos" / split / label
            folder.mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{number}.png")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def test_the_task_trains_on_the_data_set_with_the_attention_module(added: Path) -> None:
    small = ["--data.batch_size", "4", "--data.workers", "0", "--data.image_size", "[32,32]", "--gpus", "0"]
    chosen = ["--data", "mine_data.photos.Photos", "--attention", "mine_attention.channel_gain.ChannelGain"]
    recipe = ["--config", "conf/task/rotation.yaml", "--model.backbone", "resnet8"]
    assert run(["fit", *recipe, *chosen, *small, "--trainer.max_epochs", "1", "--name", "first"]) == 0
    (result,) = (added / "runs").glob("*/first/result.json")
    assert '"test/score"' in result.read_text()


def test_the_data_set_and_the_loss_serve_classification(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--data.batch_size", "4", "--data.workers", "0", "--data.image_size", "[32,32]", "--gpus", "0"]
    chosen = ["--task", "classification", "--backbone", "resnet8", "--data", "mine_data.photos.Photos"]
    loss = ["--model.loss", "mine_losses.Smoothed", "--model.loss.init_args.smoothing", "0.2"]
    assert run(["fit", *chosen, *loss, *small, "--trainer.max_epochs", "1", "--name", "photos"]) == 0
    assert (added / "runs" / "classification" / "photos" / "result.json").is_file()
    from mine_data.photos import Photos

    photos = Photos(added / "data", image_size=(32, 32))
    photos.setup("test")
    file, _ = photos.sets["test"].files[0]
    with pytest.raises(InputError, match="RELATTN_TRUSTED=mine_losses"):
        relattn.load(added / "runs" / "classification" / "photos")
    monkeypatch.setenv("RELATTN_TRUSTED", "mine_losses")
    prepared = relattn.load(added / "runs" / "classification" / "photos").transform(Path(file))
    torch.testing.assert_close(prepared, torch.from_numpy(photos.sets["test"][SampleIndex(0, 0)]["image"]))
    assert "smoothing: 0.2" in (added / "runs" / "classification" / "photos" / "config.yaml").read_text()


def test_the_attention_recipe_and_its_module_agree(added: Path) -> None:
    import yaml
    from mine_attention.channel_gain import ChannelGain

    recipe = yaml.safe_load(FILES["conf/attention/channel_gain.yaml"])
    module = ChannelGain(8, **recipe["init_args"])
    x = torch.randn(2, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    y = module(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, x * torch.tensor(2.0).sigmoid())


def test_the_sweep_file_is_one(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", "conf/sweep/gates.yaml", "--dry_run"]) == 0
    assert "9 runs" in capsys.readouterr().out


def test_the_backbone_takes_attention(added: Path) -> None:
    import mine_backbones.small  # noqa: F401

    network = build("small", attention=RGA, stages=[2, 3], size=(64, 64), num_classes=5).eval()
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    assert list(network.attention) == ["stage2", "stage3"]


@pytest.mark.parametrize("file", EVIDENCE, ids=lambda file: file.stem)
def test_tables_of_evidence_are_those_of_its_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    rows = importlib.import_module("evidence").table(json.loads(file.read_text()))
    assert rows in (ROOT / "docs" / "results.md").read_text(), f"put this there:\n{rows}"
