"""Short flags mean what the recipes say, explicit options win, and misspelt names get the closest ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from relattn.cli import catalogue
from relattn.cli.lightning.command_line import CommandLine, read_command_line
from relattn.cli.lightning.commands import attention_name, check_gpus, with_float64
from relattn.cli.lightning.recipes import attention_config, merge
from relattn.cli.lightning.suite import default_name
from relattn.cli.main import run
from relattn.errors import InputError


def read(line: str) -> CommandLine:
    """Read a line, behind a configuration that it could name itself."""
    arguments = line.split()
    named = any(flag in line for flag in ("--task", "--config", "--ckpt_path"))
    if not named:
        Path("c.yaml").write_text("model: {class_path: relattn.tasks.classification.Classification}\n")
        arguments += ["--config", "c.yaml"]
    return read_command_line(arguments)


def attention_of(line: CommandLine) -> Any:
    return line.config["model"]["init_args"]["attention"]


def test_recipes_and_files_are_one_configuration_and_explicit_options_come_behind_it() -> None:
    line = read("--trainer.max_epochs 3 --task classification --logger wandb --backbone resnet56")
    assert line.options == ["--trainer.max_epochs", "3", "--model.backbone", "resnet56"]
    assert line.config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
    assert line.recipes == {"task": "classification", "logger": "wandb", "data": "CIFAR100"}
    first, text, *rest = line.arguments()
    assert (first, yaml.safe_load(text), rest) == ("--config", line.config, line.options)


def test_own_data_count_more_than_the_task_s_recipe(tmp_path: Path) -> None:
    content = {"class_path": "relattn.tasks.classification.CIFAR10", "init_args": {"batch_size": 20}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    for own in (str(file), json.dumps(content)):
        line = read_command_line(["--task", "classification", "--data", own])
        assert line.config["data"]["init_args"]["batch_size"] == 20, own
    named = read_command_line(["--task", "classification", "--data", "CIFAR10"]).config["data"]["init_args"]
    assert named["batch_size"] == 128


def test_c_is_config(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("trainer: {max_epochs: 3}")
    for options in (["-c", str(file)], [f"-c={file}"]):
        assert read_command_line(["--task", "classification", *options]).config["trainer"]["max_epochs"] == 3


def test_another_set_lies_where_the_run_s_data_do(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    data = {"class_path": "relattn.tasks.reid.Market1501", "init_args": {"root": "there"}}
    file.write_text(yaml.safe_dump({"model": "relattn.tasks.reid.ReID", "data": data}))
    arguments = read_command_line(["--config", str(file), "--data", "DukeMTMC"]).config["data"]["init_args"]
    assert arguments["root"] == "there"


def test_the_configuration_read_again_is_the_same() -> None:
    once = read("--task classification --attention rga_sc --backbone resnet20 --gpus 0,2 --data CIFAR10")
    Path("again.yaml").write_text(yaml.safe_dump({**once.config, "recipes": once.recipes}))
    again = read_command_line(["--config", "again.yaml", *once.options])
    assert (again.config, again.options, again.recipes) == (once.config, once.options, once.recipes)


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
    content = attention_of(read(line))
    assert content["class_path"] == "relattn.attention.RGA"
    assert content["init_args"]["mode"] == "spatial_channel"
    assert content["init_args"]["embedding_ratio"] == content["init_args"]["reduction_ratio"] == ratio


def test_attention_may_be_none_a_class_or_a_file(tmp_path: Path) -> None:
    assert attention_of(read("--attention none")) is None
    assert attention_of(read("--attention my.module.Attention")) == {"class_path": "my.module.Attention"}
    file = tmp_path / "mine.yaml"
    file.write_text("class_path: my.module.Attention\ninit_args: {heads: 4}\n")
    assert attention_of(read(f"--attention {file}")) == yaml.safe_load(file.read_text())


# --- What is merged ---------------------------------------------------------------------------------------------------


def test_what_a_recipe_says_of_one_class_is_no_argument_of_another() -> None:
    line = read("--task reid --model.optimizer torch.optim.SGD --data CIFAR10")
    assert "optimizer" not in line.config["model"]["init_args"]
    of_data, of_optimizer = line.dropped
    assert of_data.startswith(
        "--data CIFAR10 starts from its own defaults, without the recipe's Market1501 (batch_size 6"
    )
    assert of_optimizer == (
        "--model.optimizer torch.optim.SGD starts from its own defaults, without the recipe's Adam "
        "(lr 0.0008, weight_decay 0.0005, fused True)."
    )
    assert set(line.config["data"]["init_args"]) == {"root"}, "sets of people alone have images_per_identity"
    duke = read("--task reid --data DukeMTMC").config["data"]
    assert duke["class_path"] == "relattn.tasks.reid.DukeMTMC"
    assert duke["init_args"]["images_per_identity"] == 4


def test_a_subclass_of_the_recipe_s_task_keeps_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_task.py").write_text("from relattn.tasks.reid import ReID\nclass Soft(ReID): ...\n")
    monkeypatch.syspath_prepend(".")
    line = read("--task reid --model own_task.Soft")
    assert line.config["model"]["class_path"] == "own_task.Soft"
    assert line.config["model"]["init_args"]["neck"] == "bnneck"


def test_later_parts_win_and_a_base_may_be_replaced() -> None:
    below = {"a": {"class_path": "x.A", "init_args": {"p": 1, "q": 2}}, "list": [1], "c": 1}
    assert merge(below, {"a": {"class_path": "y.A", "init_args": {"p": 3}}})["a"]["init_args"] == {"p": 3}
    assert merge(below, {"a": {"class_path": "x.A", "init_args": {"p": 3}}})["a"]["init_args"] == {"p": 3, "q": 2}
    assert merge(below, {"a": {"init_args": {"p": 3}}})["a"]["init_args"] == {"p": 3, "q": 2}
    assert merge(below, {"a": {"replace": True, "class_path": "x.A"}})["a"] == {"class_path": "x.A"}
    assert merge(below, {"list+": 2})["list"] == [1, 2]
    densenet = read("--task classification_densenet").config["model"]["init_args"]
    assert densenet["schedule"]["init_args"] == {"milestones": [0.5, 0.75], "gamma": 0.1}
    assert densenet["optimizer"]["init_args"]["nesterov"] is True
    assert densenet["optimizer"]["init_args"]["lr"] == 0.1
    for name, base in (("a", "b"), ("b", "a")):
        Path(f"{name}.yaml").write_text(f"base: {base}\n")
    with pytest.raises(InputError, match=r"the base 'a' leads back to a\.yaml"):
        read("--task a.yaml")


def test_sections_may_be_files_of_their_own() -> None:
    Path("conf").mkdir()
    Path("conf/run.yaml").write_text("model: model.yaml\ntrainer: {max_epochs: 2}\n")
    Path("conf/model.yaml").write_text("class_path: relattn.tasks.classification.Classification\n")
    config = read("--config conf/run.yaml").config
    assert config["model"] == {"class_path": "relattn.tasks.classification.Classification"}


@pytest.mark.parametrize(("value", "devices"), [("2", "2"), ("0,2", "[0, 2]"), ("1,", "[1]"), ("all", "-1")], ids=str)
def test_gpus_take_a_count_indices_or_all(value: str, devices: str) -> None:
    assert read(f"--gpus {value}").options == ["--trainer.accelerator", "gpu", "--trainer.devices", devices]


def test_no_gpus_is_the_cpu() -> None:
    assert read("--gpus 0").options == ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]


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
        read(line)


def test_commands_are_checked() -> None:
    with pytest.raises(InputError, match="Choose what to run: --task classification"):
        run(["fit", "--backbone", "resnet20"])
    with pytest.raises(InputError, match="Closest: benchmark"):
        run(["benchmrk"])
    with pytest.raises(InputError, match="Closest: cifar10"):
        run(["data", "make", "cifr10", "--root", "data"])


def test_a_checkpoint_brings_its_configuration_wherever_it_lies() -> None:
    config = {"model": {"class_path": "relattn.tasks.reid.ReID", "init_args": {"backbone": "resnet20"}}}
    checkpoint = Path("elsewhere.ckpt")
    torch.save({"config": yaml.safe_dump({**config, "recipes": {"task": "mine"}})}, checkpoint)
    line = read(f"--ckpt_path {checkpoint}")
    assert (line.config, line.options) == (config, ["--ckpt_path", str(checkpoint)])
    assert line.recipes == {"task": "mine"}
    overlaid = read(f"--logger wandb --ckpt_path {checkpoint}")
    assert overlaid.config["model"] == config["model"]
    assert overlaid.recipes == {"task": "mine", "logger": "wandb"}
    Path("other.yaml").write_text("model: {class_path: relattn.tasks.face.Face}\n")
    assert read(f"--ckpt_path {checkpoint} --config other.yaml").config == {
        "model": {"class_path": "relattn.tasks.face.Face"}
    }
    recipe = read(f"--ckpt_path {checkpoint} --task classification").config
    assert recipe["model"]["class_path"] == "relattn.tasks.classification.Classification"


def test_a_call_for_help_needs_no_task() -> None:
    for arguments in (["--help"], ["--model.help", "Classification"]):
        assert read_command_line(arguments).arguments() == arguments
    chosen = ["--model", "a.B", "--data.root", "c"]
    assert read_command_line(chosen).options == chosen, "a class by its path is a choice as well"


def test_the_catalogue_names_every_choice_with_a_summary() -> None:
    sections = catalogue.sections()
    assert {"classification", "classification_densenet"} <= set(sections["--task"])
    assert {"none", "rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel"} <= set(sections["--attention"])
    assert {"CIFAR10", "CIFAR100"} <= set(sections["--data"])
    assert "CIFAR" not in sections["--data"], "a base class is no choice"
    assert all(summary for choices in sections.values() for summary in choices.values())


def test_the_name_of_a_run_s_attention_is_that_of_its_recipe() -> None:
    line = read("--task classification --attention rga_cs")
    assert attention_name(attention_of(line), line.recipes["attention"]) == "rga_cs"
    for chosen in ("relattn.attention.RGA", '{"class_path":"relattn.attention.RGA"}'):
        line = read(f"--task classification --attention {chosen}")
        assert attention_name(attention_of(line), line.recipes.get("attention")) == "rga"
    assert attention_name(attention_config("none", None), "none") == "none"


def test_other_attentions_are_named_by_their_class() -> None:
    assert attention_name(None, None) == "none"
    assert attention_name({"class_path": "mine.MyAttention", "init_args": {}}, None) == "my_attention"


def test_a_folder_s_name_says_the_recipes_the_overrides_and_the_seed() -> None:
    facts = {"data": "CIFAR10", "backbone": "resnet20", "attention": "rga_sc", "seed": 3, "identity": "0123456789"}
    assert default_name({**facts, "overrides": {}}) == "cifar10-resnet20-rga_sc-s3"
    changed = default_name({**facts, "overrides": {"model.optimizer.lr": 0.01}})
    assert changed.startswith("cifar10-resnet20-rga_sc-")
    assert "0.01" in changed
    assert changed.endswith("-s3")
    many = default_name({**facts, "overrides": {f"data.option_{number}": number for number in range(40)}})
    assert len(many) < 120
    assert many.endswith("-012345-s3")


def test_further_test_sets_stay_with_a_run(tmp_path: Path) -> None:
    kept = tmp_path / "config.yaml"
    kept.write_text("test_data: DukeMTMC,others.csv\nmodel: {class_path: relattn.tasks.reid.ReID}\n")
    line = read_command_line(["--config", str(kept)])
    assert (line.suite["test_data"], "test_data" in line.config) == ("DukeMTMC,others.csv", False)
    assert read_command_line(["--config", str(kept), "--test_data", "MSMT17"]).suite["test_data"] == "MSMT17"
    assert "test_data" not in read_command_line(["--config", str(kept)], "test").suite


def test_scores_in_float64_are_not_asked_of_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [with_float64(name) for name in ("auto", "cpu", "gpu")] == ["auto", "cpu", "gpu"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [with_float64(name) for name in ("auto", "cpu", "gpu")] == ["cpu", "cpu", "gpu"]
    with pytest.raises(InputError, match=r"MPS lacks float64.*Use cpu"):
        with_float64("mps")


def test_gpus_that_are_not_there_are_an_error_that_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_gpus("auto", 1)
    with pytest.raises(InputError, match="none is visible"):
        check_gpus("gpu", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    for devices in (2, [1], -1, "2", "-1", "1,", "auto"):
        check_gpus("gpu", devices)
    for devices in (3, [2], "3"):
        with pytest.raises(InputError, match=r"there are 2 \(0: Card 0, 1: Card 1\)"):
            check_gpus("gpu", devices)
