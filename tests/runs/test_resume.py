"""Resuming a run: what may change, what is refused, and the resulting learning rate."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from small_runs import fit, result, rows
from torch import Tensor, nn
from torch.utils.data import DataLoader

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs.checkpoints import read_whole
from relattn.runs.interruption import Interruption, Signals
from relattn.runs.resume import Progress, ResumedRun, check_length, check_same_run, progress_of
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.schedules import MultiStep, OneCycle, Polynomial

# --- The learning rate ------------------------------------------------------------------------------------------------


class Tiny(Task):
    """A linear layer."""

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        return nn.Linear(1, specification["num_classes"])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        assert self.network is not None
        return self.network(batch.float()[:, None]).square().mean()


class Numbers(Data):
    """Eight numbers in batches."""

    num_classes, image_size = 2, (1, 1)

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def describe(self) -> dict[str, Any]:
        return {}

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(8), batch_size=self.batch)  # type: ignore[arg-type]


class Steps(Callback):
    """Records the epoch, rate and weight decay of each step; may stop the run, leaving a checkpoint."""

    def __init__(self, stop: tuple[int, int] | None) -> None:
        self.stop, self.made = stop, []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Task, optimizer: torch.optim.Optimizer) -> None:
        (group,) = optimizer.param_groups
        self.made.append((trainer.current_epoch, group["lr"], group["weight_decay"]))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.stop:
            if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
                trainer.save_checkpoint("last.ckpt")
                raise KeyboardInterrupt
            trainer.should_stop = True


PLAN: dict[str, Any] = {
    **{"batch": 2, "accumulate": 1, "epochs": 6, "steps": -1, "lr": 0.1, "weight_decay": 0.01},
    "schedule": Polynomial(),
}
"""Six epochs of four steps."""


def train(stop: tuple[int, int] | None = None, *, resumed: bool = False, **plan: Any) -> list[tuple[int, float, float]]:
    """Train by a plan that differs from `PLAN`; return the steps, and leave `last.ckpt`."""
    plan = {**PLAN, **plan}
    optimizer = partial(torch.optim.SGD, lr=plan["lr"], weight_decay=plan["weight_decay"], momentum=0.9)
    module = Tiny("none", optimizer=optimizer, schedule=plan["schedule"])
    steps = Steps(stop)
    last = ModelCheckpoint(Path(), "last", enable_version_counter=False, save_on_train_epoch_end=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_epochs=plan["epochs"],
        max_steps=plan["steps"],
        accumulate_grad_batches=plan["accumulate"],
        callbacks=[last, Interruption(None, Signals()), steps, *([ResumedRun({})] if resumed else [])],
        **quiet,
    )
    try:
        trainer.fit(module, datamodule=Numbers(plan["batch"]), ckpt_path="last.ckpt" if resumed else None)
    except (KeyboardInterrupt, SystemExit):
        assert stop is not None
    return steps.made


CHANGES: list[dict[str, Any]] = [
    {},
    {"accumulate": 2},
    {"batch": 4},
    {"batch": 1},
    {"batch": 3},  # three steps, the last of them of two numbers
    {"epochs": 9},
    {"lr": 0.02, "weight_decay": 0.5},
    {"schedule": MultiStep(warmup=0.7, warmup_shape="linear")},
    {"schedule": OneCycle(), "lr": 0.2, "epochs": 8, "batch": 4, "accumulate": 2},
    {"epochs": 100, "steps": 26},
    {"steps": 17},
]


def options(change: dict[str, Any]) -> str:
    """A name that is the same in every process of the tests."""
    return "-".join(change) or "nothing"


@pytest.mark.parametrize("change", CHANGES, ids=options)
@pytest.mark.sampled(10)
def test_a_changed_plan_holds_from_where_the_run_goes_on(change: dict[str, Any]) -> None:
    whole, before = train(**change), train()
    assert train(stop=(2, 3)) == before[:12]
    going_on = train(resumed=True, **change)
    in_steps = "steps" in change and change.get("epochs", 6) * 8 / change.get("batch", 2) > change["steps"]
    expected = whole[12:] if in_steps else [step for step in whole if step[0] > 2]
    assert len(expected) > 3
    assert [step[1:] for step in going_on] == [step[1:] for step in expected]
    assert in_steps or [step[0] for step in going_on] == [step[0] for step in expected]


@pytest.mark.parametrize("change", [{}, {"epochs": 9}, {"lr": 0.5, "schedule": OneCycle()}], ids=options)
def test_so_does_it_amid_an_epoch(change: dict[str, Any]) -> None:
    whole = train(**change)
    train(stop=(2, 1))
    assert train(resumed=True, **change) == whole[10:]


def test_a_run_that_has_ended_goes_on_at_the_rate_of_its_new_plan() -> None:
    train()
    assert train(resumed=True, epochs=9) == train(epochs=9)[24:]


# --- What is refused --------------------------------------------------------------------------------------------------

BEFORE: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {"max_epochs": 6, "max_steps": -1, "accumulate_grad_batches": 1},
    "model": {
        "class_path": "relattn.tasks.reid.ReID",
        "init_args": {
            "backbone": "resnet8",
            "attention": {"class_path": "relattn.attention.RGA", "init_args": {"relation": True}},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}},
            "schedule": {"class_path": "relattn.tasks.schedules.Constant"},
        },
    },
    "data": {"class_path": "relattn.tasks.reid.Market1501", "init_args": {"batch_size": 16, "root": "/data"}},
}


def now(path: str, value: Any) -> dict[str, Any]:
    """The configuration with one option changed."""
    config = copy.deepcopy(BEFORE)
    *parts, last = path.replace("model.", "model.init_args.").replace("data.", "data.init_args.").split(".")
    holder = config
    for part in parts:
        holder = holder[part]
    holder[last] = value
    return config


SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seed_everything", 1, "--seed_everything is 1, and RUN has 0: a resumed run keeps it"),
        ("model.backbone", "resnet14t", "--model.backbone is resnet14t, and RUN has resnet8"),
        ("model.attention", None, "--model.attention is null, and RUN has relattn.attention.RGA"),
        ("model.attention.init_args.relation", False, "--model.attention.relation is false, and RUN has true"),
        ("model.stages", [2], r"--model.stages is \[2\], and RUN has null"),
        ("data", {"class_path": "relattn.tasks.reid.CUHK03"}, "--data is relattn.tasks.reid.CUHK03, and RUN has"),
        ("model.optimizer", SGD, "--model.optimizer is torch.optim.SGD, and RUN was trained with torch.optim.Adam"),
    ],
)
def test_another_run_is_refused_by_the_option_that_makes_it_one(path: str, value: Any, said: str) -> None:
    for done in (Progress(2, 8, within_epoch=False), Progress(2, 9, within_epoch=True)):
        with pytest.raises(InputError, match=said):
            check_same_run(Path("RUN"), BEFORE, now(path, value), done)


@pytest.mark.parametrize(
    ("path", "value"), [("data.batch_size", 8), ("trainer.accumulate_grad_batches", 2), ("data.root", "/elsewhere")]
)
def test_what_an_epoch_is_made_of_changes_between_epochs_alone(path: str, value: Any) -> None:
    check_same_run(Path("RUN"), BEFORE, now(path, value), Progress(2, 8, within_epoch=False))
    if path == "data.root":
        check_same_run(Path("RUN"), BEFORE, now(path, value), Progress(2, 9, within_epoch=True))
        return
    with pytest.raises(InputError, match=f"--{path} is {value}, and RUN was stopped within an epoch with"):
        check_same_run(Path("RUN"), BEFORE, now(path, value), Progress(2, 9, within_epoch=True))


def test_a_run_is_complete_or_goes_on_and_never_becomes_shorter() -> None:
    folder = Path("RUN")
    folder.mkdir()
    half, whole = Progress(3, 12, within_epoch=False), Progress(6, 24, within_epoch=False)

    def length(done: Progress, **trainer: Any) -> str | None:
        return check_length(folder, BEFORE, {**BEFORE, "trainer": {**BEFORE["trainer"], **trainer}}, done)

    assert length(half) is length(half, max_epochs=4) is length(whole, max_epochs=7) is None
    assert length(whole) == "RUN is complete: 6 of 6 epochs. To train longer: --trainer.max_epochs 12."
    assert length(half, max_epochs=-1, max_steps=12) == (
        "RUN is complete: 12 of 12 steps. To train longer: --trainer.max_steps 24."
    )
    for shorter in ({"max_epochs": 2}, {"max_steps": 11}, {"max_epochs": 3, "max_steps": 11}):
        with pytest.raises(InputError, match="a run cannot become shorter"):
            length(half, **shorter)
    assert length(Progress(6, 23, within_epoch=True)) is None, "its last epoch is not over"
    (folder / "result.json").write_text('{"epochs": 3, "steps": 12}')
    assert length(half) == "RUN has ended after 3 epochs and 12 steps. To train longer: --trainer.max_epochs 12."
    assert length(half, max_epochs=12) is None
    assert length(Progress(2, 8, within_epoch=False)) is None, "a checkpoint of an epoch before the last"
    assert length(half, max_time="00:02:00:00") is None, "time may have ended it"
    assert length(half, callbacks=[]) is None, "a callback may have ended it"


def test_other_data_are_refused() -> None:
    class Other(Numbers):
        def describe(self) -> dict[str, Any]:
            return {"data": "Numbers", "fingerprint": "b"}

    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    trainer.datamodule = Other(2)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="Numbers with fingerprint b, not Numbers with a"):
        ResumedRun({"data": "Numbers", "fingerprint": "a"}).on_fit_start(trainer, Tiny("none"))
    ResumedRun({"data": "Numbers", "fingerprint": "b"}).on_fit_start(trainer, Tiny("none"))


# --- Through the command line -----------------------------------------------------------------------------------------

LONGER = ("--trainer.max_epochs", "4", "--data.batch_size", "50", "--trainer.limit_train_batches", "4")
CHANGED = (*LONGER, "--model.optimizer.lr", "0.02", "--trainer.log_every_n_steps", "1")


@pytest.mark.slow
def test_changed_options_apply_and_are_recorded(cifar: Path, copy_of: Callable[[Path], Path]) -> None:
    plain = ("--attention", "none", "--model.schedule", "relattn.tasks.schedules.Polynomial")
    whole = fit("classification", cifar, *plain, *CHANGED, "--name", "whole")
    folder = fit("classification", cifar, *plain, "--name", "mine")
    first = (folder / "config.yaml").read_text()
    before = read_whole(folder / "checkpoints" / "last.ckpt")
    assert run(["fit", "--ckpt_path", "last", "--name", "mine", *CHANGED]) == 0
    rates = [[float(row["lr"]) for row in rows(one / "metrics.csv") if row.get("lr")] for one in (folder, whole)]
    assert rates[0] == [0.1, *rates[1][1:]], "the first epoch was the recipe's, the other three are the new plan's"
    assert len(rates[0]) == 4
    assert (folder / "config-1.yaml").read_text() == first
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.02
    assert config["data"]["init_args"]["batch_size"] == 50
    assert config["ckpt_path"] is None, "the configuration reproduces the run, and does not go on with it"
    after = read_whole(folder / "checkpoints" / "last.ckpt")
    assert progress_of(before) == Progress(1, 2, within_epoch=False)
    assert progress_of(after) == Progress(4, 14, within_epoch=False)
    assert after["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.02
    done = result(folder)
    assert (done["epochs"], done["steps"], done["weights"]) == (4, 14, "random")
    assert done["overrides"]["model.optimizer.lr"] == 0.02
    assert done["identity"] == result(whole)["identity"]
    assert len(done["earlier"]) == 1
    assert run(["fit", "--ckpt_path", str(folder), "--trainer.max_epochs", "5"]) == 0
    assert [path.name for path in sorted(folder.glob("config-*.yaml"))] == ["config-1.yaml", "config-2.yaml"]
    assert json.loads((folder / "run.json").read_text())["earlier"][0] == done["earlier"][0]
    assert len(result(folder)["earlier"]) == 2
