"""Short flags mean what the recipes say, explicit options win, and misspelt names get the closest ones."""

import json
from pathlib import Path

import pytest
import yaml

from relattn.cli import catalogue
from relattn.cli.lightning import flags
from relattn.cli.lightning.commands import attention_name, check_gpus, claim_folder, give_back
from relattn.cli.main import run
from relattn.errors import InputError


def expand(line: str) -> list[str]:
    """Expand a line, behind a configuration that it could name itself."""
    arguments = line.split()
    named = any(flag in line for flag in ("--task", "--config", "--ckpt_path"))
    return flags.expand(arguments)[0] if named else flags.expand(["--config", "c.yaml", *arguments])[0][2:]


def test_recipes_move_to_the_front_and_explicit_options_stay_behind_them() -> None:
    expanded = expand("--trainer.max_epochs 3 --task classification --logger wandb --backbone resnet56")
    configs = [str(catalogue.conf() / name) for name in ("task/classification.yaml", "logger/wandb.yaml")]
    assert expanded[:4] == ["--config", configs[0], "--config", configs[1]]
    assert expanded[4:] == ["--trainer.max_epochs", "3", "--model.backbone", "resnet56"]


def test_expanding_twice_changes_nothing() -> None:
    once = expand("--task classification --attention rga_sc --backbone resnet20 --gpus 0,2 --data CIFAR10")
    assert flags.expand(once)[0] == once


@pytest.mark.parametrize(
    ("line", "ratio"),
    [
        ("--task classification --attention rga_sc", 4),  # the recipe's ResNet-110
        ("--backbone resnet20 --attention rga_sc", 4),
        ("--model.backbone=resnet50_cifar --attention=rga_sc", 4),
        ("--backbone resnet50 --attention rga_sc", 8),  # timm's
        ("--backbone densenet_bc100 --attention rga_sc", 8),
        ("--task classification_densenet --attention rga_sc", 8),
        (f"--config {catalogue.conf() / 'demo' / 'classification.yaml'} --attention rga_sc", 4),
        ("--task classification --model.init_args.backbone resnet50 --attention rga_sc", 8),
    ],
)
def test_attention_fits_the_papers_arguments_to_the_family_of_the_backbone(line: str, ratio: int) -> None:
    expanded = expand(line)
    content = json.loads(expanded[expanded.index("--model.attention") + 1])
    assert content["class_path"] == "relattn.attention.RGA"
    assert content["init_args"]["mode"] == "spatial_channel"
    assert content["init_args"]["embedding_ratio"] == content["init_args"]["reduction_ratio"] == ratio


def test_attention_may_be_none_a_class_or_a_file(tmp_path: Path) -> None:
    assert expand("--attention none") == ["--model.attention", "null"]
    assert expand("--attention my.module.Attention") == ["--model.attention", "my.module.Attention"]
    file = tmp_path / "mine.yaml"
    file.write_text("class_path: my.module.Attention\ninit_args: {heads: 4}\n")
    assert json.loads(expand(f"--attention {file}")[1]) == yaml.safe_load(file.read_text())


@pytest.mark.parametrize(("value", "devices"), [("2", "2"), ("0,2", "[0, 2]"), ("1,", "[1]"), ("all", "-1")], ids=str)
def test_gpus_take_a_count_indices_or_all(value: str, devices: str) -> None:
    assert expand(f"--gpus {value}") == ["--trainer.accelerator", "gpu", "--trainer.devices", devices]


def test_no_gpus_is_the_cpu() -> None:
    assert expand("--gpus 0") == ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--task clasification", "Closest: classification"),
        ("--attention rga-sc", "Closest: rga_sc"),
        ("--data CIFAR1000", "Closest: CIFAR100"),
        ("--logger wanbd", "Closest: wandb"),
        ("--trainer gpu", "Closest: gpu_fast"),
        ("--attention nowhere.yaml", "no such file"),
        ("--gpus two", "expected a count"),
        ("--gpus", "--gpus needs a value"),
        ("--ckpt_path nowhere.ckpt", "no such file"),
        ("--task", "--task needs a value"),
    ],
)
def test_what_is_misspelt_is_named_with_what_comes_closest(line: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        expand(line)


def test_commands_are_checked() -> None:
    with pytest.raises(InputError, match="Choose what to run: --task classification"):
        run(["fit", "--backbone", "resnet20"])
    with pytest.raises(InputError, match="Closest: benchmark"):
        run(["benchmrk"])
    with pytest.raises(InputError, match="Closest: cifar10"):
        run(["data", "make", "cifr10", "--root", "data"])


def test_a_checkpoint_brings_the_configuration_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.touch()
    config = tmp_path / "run" / "config.yaml"
    config.write_text("model: {init_args: {backbone: resnet20}}\n")
    assert expand(f"--ckpt_path {checkpoint}") == ["--config", str(config), "--ckpt_path", str(checkpoint)]
    overlaid = expand(f"--logger wandb --ckpt_path {checkpoint}")
    assert overlaid[1] == str(config), "the run's configuration comes before the overlay"
    assert overlaid[3].endswith("wandb.yaml")
    assert str(config) not in expand(f"--ckpt_path {checkpoint} --config other.yaml")
    assert str(config) not in expand(f"--ckpt_path {checkpoint} --task classification")


def test_a_call_for_help_needs_no_task() -> None:
    assert flags.expand(["--help"])[0] == ["--help"]
    assert flags.expand(["--model.help", "Classification"])[0] == ["--model.help", "Classification"]


def test_a_folder_is_given_back_only_if_nothing_was_made_in_it(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "full" / "metrics.csv").touch()
    give_back(str(tmp_path / "empty"))
    give_back(str(tmp_path / "full"))
    give_back("")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_catalogue_names_every_choice_with_a_summary() -> None:
    sections = catalogue.sections()
    assert {"classification", "classification_densenet"} <= set(sections["--task"])
    assert {"none", "rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel"} <= set(sections["--attention"])
    assert {"CIFAR10", "CIFAR100"} <= set(sections["--data"])
    assert "CIFAR" not in sections["--data"], "a base class is no choice"
    assert all(summary for choices in sections.values() for summary in choices.values())


@pytest.mark.parametrize("name", sorted(catalogue.recipes("attention")))
def test_the_name_of_a_configured_attention_is_that_of_its_recipe(name: str) -> None:
    for backbone in ("resnet50", "resnet20"):
        assert attention_name(json.loads(flags.attention(name, backbone))) == name


def test_other_attentions_are_named_by_their_class() -> None:
    assert attention_name(None) == "none"
    assert attention_name({"class_path": "mine.MyAttention", "init_args": {}}) == "my_attention"


def test_folders_are_numbered_unless_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(*, exact: bool) -> str:
        monkeypatch.setenv("RELATTN_RUN", "")
        return claim_folder(tmp_path, "run", exact=exact).name

    assert [claim(exact=False) for _ in range(3)] == ["run", "run-2", "run-3"]
    with pytest.raises(InputError, match=r"run exists\. Choose another --name\.$"):
        claim(exact=True)
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match="or go on with that run: --ckpt_path"):
        claim(exact=True)
    first = claim(exact=False)
    assert claim_folder(tmp_path, "other", exact=True).name == first, "the processes of one run share its folder"


def test_gpus_that_are_not_there_are_an_error_that_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_gpus("auto", 1)
    with pytest.raises(InputError, match="none is to be seen"):
        check_gpus("gpu", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    for devices in (2, [1], -1, "2", "-1", "1,"):
        check_gpus("gpu", devices)
    for devices in (3, [2], "3"):
        with pytest.raises(InputError, match=r"there are 2 \(0: Card 0, 1: Card 1\)"):
            check_gpus("gpu", devices)
