"""Lightning's options work or are refused in one line: a table of both, and small runs."""

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.plugins.precision import MixedPrecision
from set_up import SetUp
from small_runs import checkpoint_of, result, small

from relattn.cli.main import message_of, run
from relattn.errors import InputError
from relattn.runs.checkpoints import read_whole
from relattn.tasks.base import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published set")

SMALL = " ".join(small("classification", "classification")[1:])

OWN = """
from lightning.pytorch.callbacks import Callback

class Watch(Callback):
    def __init__(self, every: int = 1):
        if every < 1:
            raise ValueError(f"every is {every}, expected 1 or more")
        self.every = every
    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("mine/epochs", float(trainer.current_epoch + 1))

class Unset(Callback):
    def setup(self, trainer, pl_module, stage):
        raise OSError("the camera does not answer")

class Typo(Callback):
    def setup(self, trainer, pl_module, stage):
        self.nothing.here

class Late(Callback):
    def on_train_batch_end(self, *arguments):
        raise ValueError("a mistake in training")
"""
"""A user's module."""


def one(kind: str, **arguments: Any) -> str:
    """A class with its arguments as an option's value, quoted for the shell."""
    return shlex.quote(json.dumps({"class_path": kind, "init_args": arguments}))


def several(*entries: str) -> str:
    """A list of classes as an option's value."""
    return shlex.quote(json.dumps([json.loads(shlex.split(entry)[0]) for entry in entries]))


def has(kind: str) -> Callable[[Trainer], bool]:
    """Whether a trainer has a callback of a class."""
    return lambda trainer: any(type(callback).__name__ == kind for callback in trainer.callbacks)


def is_now(name: str, value: Any) -> Callable[[Trainer], bool]:
    """Whether an attribute of the trainer has a value."""
    return lambda trainer: getattr(trainer, name) == value


TOP = one("ModelCheckpoint", monitor="val/score", mode="max", save_top_k=2, filename="{epoch}-{val/score:.2f}")
STOPPING = one("EarlyStopping", monitor="val/score", mode="max")

VALID: list[tuple[str, Callable[[Trainer], bool]]] = [
    # Callbacks
    (f"--trainer.callbacks {TOP}", has("ModelCheckpoint")),
    ("--trainer.callbacks ModelCheckpoint", has("ModelCheckpoint")),
    (f"--trainer.callbacks {one('ModelCheckpoint', dirpath='elsewhere', filename='{epoch}')}", has("ModelCheckpoint")),
    (f"--trainer.callbacks {STOPPING}", has("EarlyStopping")),
    ("--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss", has("EarlyStopping")),
    (f"--trainer.callbacks {several(TOP, STOPPING)}", has("EarlyStopping")),
    (f"--trainer.callbacks+ {TOP} --trainer.callbacks+ {STOPPING}", has("EarlyStopping")),
    (f"--trainer.callbacks {one('StochasticWeightAveraging', swa_lrs=0.01)}", has("StochasticWeightAveraging")),
    (f"--trainer.callbacks {one('EMAWeightAveraging', decay=0.99)}", has("EMAWeightAveraging")),
    ("--trainer.callbacks WeightAveraging", has("WeightAveraging")),
    ("--trainer.callbacks Timer", has("Timer")),
    (f"--trainer.callbacks {one('Timer', duration='00:01:00:00', interval='epoch')}", has("Timer")),
    ("--trainer.callbacks LearningRateFinder", has("Tuned")),
    ("--trainer.callbacks BatchSizeFinder --trainer.callbacks.mode binsearch", has("Tuned")),
    ("--trainer.callbacks RichProgressBar", has("RichProgressBar")),
    ("--trainer.callbacks TQDMProgressBar", has("TQDMProgressBar")),
    ("--trainer.callbacks RichModelSummary", has("RichModelSummary")),
    (f"--trainer.callbacks {one('ModelSummary', max_depth=2)}", has("ModelSummary")),
    ("--trainer.callbacks DeviceStatsMonitor", has("DeviceStatsMonitor")),
    ("--trainer.callbacks LearningRateMonitor", has("LearningRateMonitor")),
    (f"--trainer.callbacks {one('GradientAccumulationScheduler', scheduling={'0': 2})}", lambda trainer: True),
    ("--trainer.callbacks LambdaCallback", has("LambdaCallback")),
    (f"--trainer.callbacks {one('OnExceptionCheckpoint', dirpath='kept')}", has("OnExceptionCheckpoint")),
    ("--trainer.callbacks own_callbacks.Watch --trainer.callbacks.every 2", has("Watch")),
    ("--trainer.callbacks null", has("RunRecord")),
    ("--trainer.callbacks []", has("RunRecord")),
    ("--figures masks --trainer.callbacks LambdaCallback", has("LambdaCallback")),
    ("--best --data.validation 40", has("BestCheckpoint")),
    (f"--trainer.callbacks {STOPPING} --best", has("BestCheckpoint")),
    # Numbers
    ("--trainer.precision 16-mixed", is_now("precision", "bf16-mixed")),  # Lightning's choice on a CPU
    ("--trainer.precision bf16-mixed --trainer.gradient_clip_val 1", is_now("precision", "bf16-mixed")),
    ("--trainer.precision 16-true", is_now("precision", "16-true")),
    ("--trainer.precision bf16-true", is_now("precision", "bf16-true")),
    ("--trainer.precision 64-true", is_now("precision", "64-true")),
    ("--trainer.precision 64", is_now("precision", "64-true")),
    ("--trainer.precision 32-true", is_now("precision", "32-true")),
    ("--trainer gpu_fast --trainer.gradient_clip_val 0.5", is_now("gradient_clip_val", 0.5)),
    ("--trainer.gradient_clip_val 1 --trainer.gradient_clip_algorithm value", is_now("gradient_clip_val", 1)),
    ("--trainer.accumulate_grad_batches 2", is_now("accumulate_grad_batches", 2)),
    ("--trainer.plugins lightning.pytorch.plugins.DoublePrecision", is_now("precision", "64-true")),
    # Lengths
    ("--trainer.overfit_batches 1", is_now("overfit_batches", 1)),
    ("--trainer.overfit_batches 0.5", is_now("overfit_batches", 0.5)),
    ("--trainer.limit_train_batches 0.5", is_now("limit_train_batches", 0.5)),
    ("--trainer.limit_val_batches 0", is_now("limit_val_batches", 0)),
    ("--trainer.limit_test_batches 1", is_now("limit_test_batches", 1)),
    ("--trainer.limit_predict_batches 1", is_now("limit_predict_batches", 1)),
    ("--trainer.val_check_interval 0.5", is_now("val_check_interval", 0.5)),
    ("--trainer.val_check_interval 3 --trainer.check_val_every_n_epoch null", is_now("val_check_interval", 3)),
    ("--trainer.val_check_interval 00:00:10:00", lambda trainer: True),
    ("--trainer.check_val_every_n_epoch 2", is_now("check_val_every_n_epoch", 2)),
    ("--trainer.num_sanity_val_steps -1", is_now("num_sanity_val_steps", float("inf"))),
    ("--trainer.max_steps 3", is_now("max_steps", 3)),
    ("--trainer.max_epochs -1 --trainer.max_steps 3", is_now("max_epochs", -1)),
    ("--trainer.min_epochs 2 --trainer.max_epochs 3", is_now("min_epochs", 2)),
    ("--trainer.max_time 00:00:10:00", has("Timer")),
    ("--trainer.max_time '{\"minutes\": 5}'", has("Timer")),
    ("--trainer.fast_dev_run true", is_now("fast_dev_run", 1)),
    ("--trainer.log_every_n_steps 1", is_now("log_every_n_steps", 1)),
    ("--trainer.reload_dataloaders_every_n_epochs 1", lambda trainer: True),
    # The machine
    ("--trainer.strategy auto --trainer.devices 1", is_now("num_devices", 1)),
    ("--trainer.strategy ddp --trainer.devices 2", is_now("num_devices", 2)),
    ("--trainer.strategy ddp_find_unused_parameters_true --trainer.devices 2", is_now("num_devices", 2)),
    (f"--trainer.strategy {one('DDPStrategy', find_unused_parameters=True)}", is_now("num_devices", 1)),
    ("--gpus 0", is_now("num_devices", 1)),
    ("--trainer.sync_batchnorm true", lambda trainer: True),
    ("--trainer.use_distributed_sampler false", lambda trainer: True),
    ("--trainer.deterministic warn", lambda trainer: True),
    ("--trainer.detect_anomaly true", lambda trainer: True),
    ("--trainer.inference_mode false", lambda trainer: True),
    ("--trainer.profiler simple", lambda trainer: type(trainer.profiler).__name__ == "SimpleProfiler"),
    (
        f"--trainer.profiler {one('lightning.pytorch.profilers.AdvancedProfiler', filename='times')}",
        lambda trainer: type(trainer.profiler).__name__ == "AdvancedProfiler",
    ),
    ("--trainer.enable_progress_bar true", lambda trainer: trainer.progress_bar_callback is not None),
    (
        "--trainer.enable_model_summary true",
        lambda trainer: any(isinstance(one, ModelSummary) for one in trainer.callbacks),
    ),
    ("--trainer.enable_checkpointing false", lambda trainer: not trainer.checkpoint_callbacks),
    # Loggers
    (f"--trainer.logger {one('CSVLogger', save_dir='logs')}", has("RunRecord")),
    ("--trainer.logger CSVLogger --trainer.logger.save_dir logs", has("RunRecord")),
    ("--trainer.logger false", has("RunRecord")),
    ("--logger csv", has("RunRecord")),
    ("--logger wandb", has("RunRecord")),
    ("--logger wandb --trainer.logger.project mine --trainer.logger.offline true", has("RunRecord")),
    # Classes and files
    ("--model.optimizer AdamW", has("RunRecord")),
    ("--model.optimizer torch.optim.AdamW --model.optimizer.lr 0.001", has("RunRecord")),
    ("--model.optimizer Adam --model.optimizer.betas [0.9,0.99]", has("RunRecord")),
    ("--model.schedule relattn.tasks.schedules.MultiStep --model.schedule.milestones [0.5]", has("RunRecord")),
    ("--config longer.yaml --config stopping.yaml", has("EarlyStopping")),
    ("--config stopping.yaml --best", has("BestCheckpoint")),
    ("--data CIFAR100", has("RunRecord")),
]
"""Options, and the check that the trainer must then pass."""

MISTAKES: list[tuple[str, str]] = [
    # Callbacks
    ("--trainer.callbacks EarlyStopping", r"callbacks.monitor is not given, and .*EarlyStopping needs it"),
    ("--trainer.callbacks EarlyStoping", r"'EarlyStoping', expected the path of a class.*Closest: EarlyStopping"),
    ("--trainer.callbacks torch.nn.Linear", r"--trainer.callbacks is 'torch.nn.Linear', expected the path of a class"),
    ("--trainer.callbacks own_callbacks.Wach", r"--trainer.callbacks .*has no attribute 'Wach'|expected the path"),
    ("--trainer.callbacks own_callbacks.Watch --trainer.callbacks.every 0", r"every is 0, expected 1 or more"),
    ("--trainer.callbacks own_callbacks.Watch --trainer.callbacks.evry 1", r"no option --trainer.callbacks.evry"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.save_top_k 2", r"No quantity for top_k"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.save_top_k -2", r"save_top_k=-2"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.every_n_epochs -1", r"every_n_epochs=-1"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.filename last", r"last.ckpt is the run's own"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.filename best", r"best.ckpt is the run's own"),
    (f"--trainer.callbacks {one('ModelCheckpoint', monitor='val/score', mode='best')}", r"best"),
    (f"--trainer.callbacks {one('EarlyStopping', monitor='val/score', mode='best')}", r"`mode` can be|mode is 'best'"),
    (f"--trainer.callbacks {one('EarlyStopping', monitor='val/score', patience='many')}", r"patience"),
    (f"--trainer.callbacks {one('StochasticWeightAveraging', swa_lrs=-1.0)}", r"swa_lrs"),
    (f"--trainer.callbacks {one('StochasticWeightAveraging', swa_lrs=0.1, swa_epoch_start=2.0)}", r"swa_epoch_start"),
    ("--trainer.callbacks StochasticWeightAveraging", r"swa_lrs is not given"),
    (f"--trainer.callbacks {one('LearningRateFinder', mode='steep')}", r"`mode` should be either of"),
    (f"--trainer.callbacks {one('BatchSizeFinder', mode='steep')}", r"`mode` should be either of"),
    (f"--trainer.callbacks {one('BatchSizeFinder', margin=2.0)}", r"margin"),
    (f"--trainer.callbacks {one('Timer', duration='soon')}", r"Timer"),
    (f"--trainer.callbacks {one('RichProgressBar', refresh_rate='often')}", r"refresh_rate"),
    (f"--trainer.callbacks {one('TQDMProgressBar', rate=2)}", r"no option --trainer.callbacks.rate"),
    ("--trainer.callbacks ModelPruning --trainer.callbacks.pruning_fn l1_unstructured", r"channels_last false"),
    ("--trainer.callbacks ModelPruning", r"pruning_fn is not given"),
    ("--trainer.callbacks RichProgressBar --trainer.callbacks+ TQDMProgressBar", r"multiple progress bar"),
    (
        "--trainer.callbacks EMAWeightAveraging --trainer.callbacks.decay [1]",
        r"callbacks.decay is '\[1\]', expected a num",
    ),
    ("--trainer.callbacks EMAWeightAveraging --trainer.callbacks.update_every_n_steps 0", r"at least 1"),
    (
        "--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.patience 1.5",
        r"--trainer.callbacks.patience is '1.5', expected a whole number.$",
    ),
    ("--trainer.callbacks.monitor val/loss", r"callbacks.monitor is an argument of a class: give --trainer.callb"),
    (f"--trainer.callbacks {several(STOPPING, one('Nothing', a=1))}", r"--trainer.callbacks is 'Nothing', expected"),
    (f"--trainer.callbacks {one('LearningRateFinder', min_lr=1.0, max_lr=0.1)}", r"min_lr is 1.0, expected less than"),
    (f"--trainer.callbacks {one('BatchSizeFinder', init_val=0)}", r"init_val is 0, expected at least 1"),
    (f"--trainer.callbacks {one('Timer', duration={'minute': 1})}", r"duration is \{'minute': 1\}, expected days:h"),
    (
        f"--trainer.callbacks {one('ModelCheckpoint', train_time_interval=1)}",
        r"is '1', expected a time such as 1:30:00",
    ),
    (
        f"--trainer.callbacks {one('GradientAccumulationScheduler', scheduling={'a': 2})}",
        r"scheduling cannot.*'a'.$",
    ),
    (f"--trainer.callbacks {one('Timer', duration=[1])}", r"is '\[1\]', expected text or a dictionary such as"),
    (f"--trainer.callbacks {one('ModelCheckpoint')} --trainer.enable_checkpointing false", r"enable_checkpointing"),
    # Numbers
    ("--trainer.precision 12", r"precision is '12', expected"),
    ("--trainer.precision transformer-engine", r"transformer_engine"),
    ("--trainer.gradient_clip_val -1", r"gradient_clip_val is -1"),
    ("--trainer.gradient_clip_val many", r"gradient_clip_val is 'many', expected"),
    ("--trainer.gradient_clip_val 1 --trainer.gradient_clip_algorithm sum", r"gradient_clip_algorithm"),
    ("--trainer.accumulate_grad_batches 0", r"accumulate_grad_batches is 0, expected at least 1"),
    ("--trainer.plugins torch.nn.Linear", r"--trainer.plugins is 'torch.nn.Linear', expected the path"),
    # Lengths
    ("--trainer.max_epochs 0", r"max_epochs is 0: nothing would be trained"),
    ("--trainer.max_steps 0", r"max_steps is 0: nothing would be trained"),
    ("--trainer.max_epochs -3", r"max_epochs.*-3"),
    ("--trainer.max_time forever", r"--trainer.max_time is 'forever', expected days:hours:minutes:seconds such as"),
    ("--trainer.max_time '{\"minute\": 5}'", r"--trainer.max_time is \{'minute': 5\}, expected .* \{minutes: 30\}"),
    ("--trainer.max_epochs [1,2]", r"--trainer.max_epochs is '\[1, 2\]', expected a whole number"),
    ("--trainer.min_epochs 5 --trainer.max_epochs 3", r"min_epochs is 5, expected at most --trainer.max_epochs, 3"),
    ("--trainer.num_sanity_val_steps -2", r"num_sanity_val_steps is -2, expected at least -1"),
    ("--trainer.limit_train_batches many", r"limit_train_batches is 'many', expected a number.$"),
    ("--trainer.limit_train_batches 0", r"limit_train_batches is 0: nothing would be trained"),
    ("--trainer.limit_val_batches -1", r"limit_val_batches"),
    ("--trainer.limit_val_batches 1.5", r"limit_val_batches"),
    ("--trainer.overfit_batches -1", r"overfit_batches"),
    ("--trainer.val_check_interval 0", r"val_check_interval is 0, expected a fraction of an epoch"),
    ("--trainer.val_check_interval 1.5", r"val_check_interval"),
    ("--trainer.check_val_every_n_epoch 0", r"check_val_every_n_epoch is 0, expected at least 1"),
    ("--trainer.check_val_every_n_epoch null --trainer.val_check_interval 0.5", r"val_check_interval"),
    ("--trainer.num_sanity_val_steps few", r"num_sanity_val_steps is 'few', expected a whole number"),
    ("--trainer.log_every_n_steps 0", r"log_every_n_steps is 0, expected at least 1"),
    ("--trainer.fast_dev_run -1", r"fast_dev_run"),
    ("--trainer.reload_dataloaders_every_n_epochs -1", r"reload_dataloaders_every_n_epochs"),
    # The machine
    ("--trainer.accelerator gpuu", r"accelerator='gpuu'"),
    ("--trainer.devices 0", r"devices='0'"),
    ("--trainer.strategy ddpp", r"strategy='ddpp'"),
    ("--trainer.strategy ddp_spawn --trainer.devices 2", r"ddp_spawn: .*Give --trainer.strategy ddp"),
    ("--trainer.strategy ddp_fork", r"ddp_fork: .*Give --trainer.strategy ddp"),
    ("--trainer.strategy ddp_notebook", r"ddp_notebook: .*Give --trainer.strategy ddp"),
    (f"--trainer.strategy {one('DDPStrategy', start_method='spawn')}", r"spawn: .*Give --trainer.strategy ddp"),
    ("--trainer.strategy fsdp", r"fsdp keeps parts of a network.*Give --trainer.strategy ddp"),
    ("--trainer.strategy deepspeed_stage_2", r"deepspeed_stage_2 keeps parts.*Give --trainer.strategy ddp"),
    (
        f"--trainer.strategy {one('DDPStrategy', find_unused=True)}",
        r"find_unused.* fits no class: expected a name such",
    ),
    ("--trainer.num_nodes 0", r"num_nodes is 0, expected at least 1"),
    ("--trainer.deterministic maybe", r"deterministic is 'maybe', expected"),
    ("--trainer.profiler fast", r"profiler"),
    ("--trainer.barebones true", r"--trainer.barebones: a run keeps its metrics"),
    ("--trainer.default_root_dir elsewhere", r"default_root_dir: .*chosen with --runs and --name"),
    ("--trainer.max_epchs 3", r"no option --trainer.max_epchs. Closest: --trainer.max_epochs"),
    # Loggers
    ("--trainer.logger CSVLogger", r"logger.save_dir is not given, and .*CSVLogger needs it"),
    ("--trainer.logger Nothing", r"--trainer.logger is 'Nothing', expected"),
    (f"--trainer.logger {one('WandbLogger', log_model='some', offline=True)}", r"log_model"),
    (f"--trainer.logger {one('WandbLogger', offline=True, log_model=True)}", r"offline|log_model"),
    ("--trainer.logger CometLogger", r"comet"),
    (f"--trainer.logger {one('WandbLoger', project='mine')}", r"logger is 'WandbLoger', .*Closest: WandbLogger"),
    ("--trainer.logger lightning.pytorch.loggers.NeptuneLogger", r"(?i)neptune"),
    ("--logger wanbd", r"no logger 'wanbd'. Closest: wandb"),
    # Classes and files
    ("--model.optimizer LBFGS", r"LBFGS.* Give --model.channels_last false"),
    ("--model.optimizer.lr inf", r"--model.optimizer.lr is 'inf', expected a finite number"),
    ("--model.lr 0.1", r"no option --model.lr .* Closest: --model.optimizer.lr"),
    ("--epochs 3", r"no option --epochs. Closest: --trainer.max_epochs"),
    ("--model.attention.reduction_ratio 4", r"reduction_ratio is an argument of a class: give --model.attention"),
    ("--model.optimizer AdmaW", r"optimizer is 'AdmaW', expected the path of a class.*Closest: .*AdamW"),
    ("--model.optimizer AdamW --model.optimizer.momentum 0.9", r"no option --model.optimizer.momentum"),
    ("--model.optimizer Adam --model.optimizer.betas [2,2]", r"torch.optim.Adam.*: Invalid beta"),
    ("--model.schedule torch.optim.lr_scheduler.StepLR", r"StepLR', expected the path of a class"),
    ("--config longer.yaml --config nowhere.yaml", r"nowhere.yaml: there is no such file"),
    ("--config longer.yaml --config misspelt.yaml", r"no option --trainer.max_epoch. Closest"),
    ("--config tab.yaml", r"tab.yaml cannot be read as YAML: .*line 2, column 1"),
    ("--config number.yaml", r"number.yaml: class_path is 3, expected the path of a class"),
    ("--config nothing.yaml", r"nothing.yaml: trainer is None, expected names of options"),
    ("--config endless.yaml", r"endless.yaml has a YAML alias to one of its own parents"),
    ("--config section.yaml", r"--data is \[1\], expected a class_path and its init_args"),
    ("--best extra", r"'extra' is not an option"),
]
"""Options, and the one-line message that they must cause."""


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module and configurations in the current folder."""
    Path("own_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "own_callbacks", raising=False)
    Path("longer.yaml").write_text("trainer: {max_epochs: 3, limit_train_batches: 1}\n")
    Path("tab.yaml").write_text("trainer:\n\tmax_epochs: 3\n")
    Path("number.yaml").write_text("model: {class_path: 3}\n")
    Path("endless.yaml").write_text("trainer: &trainer {max_epochs: 1, again: *trainer}\n")
    Path("nothing.yaml").write_text("trainer:\n")
    Path("section.yaml").write_text("data: [1]\n")
    Path("misspelt.yaml").write_text("trainer: {max_epoch: 3}\n")
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/score"}}
    Path("stopping.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [stopping]}}))


@pytest.fixture(scope="module")
def set_up() -> SetUp:
    return SetUp()


def test_the_tables_are_large_and_have_no_line_twice() -> None:
    valid, mistakes = {line for line, _ in VALID}, {line for line, _ in MISTAKES}
    assert min(len(valid), len(mistakes)) >= 60
    assert len(valid) + len(mistakes) == len(VALID) + len(MISTAKES) == len(valid | mistakes)


@pytest.mark.parametrize(("line", "holds"), VALID, ids=[line for line, _ in VALID])
@pytest.mark.sampled(12)
def test_a_valid_option_sets_up_a_run(line: str, holds: Callable[[Trainer], bool], set_up: SetUp) -> None:
    trainer = set_up(shlex.split(f"{SMALL} {line}"))
    assert holds(trainer)
    content = set_up.content(set_up.config["fit"])
    assert "Unable to serialize" not in yaml.safe_dump(content)
    assert not list(Path().glob("runs/*/*")), "a run that did not start leaves nothing"


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
@pytest.mark.sampled(10)
def test_a_mistake_is_refused_in_one_line(line: str, message: str, set_up: SetUp) -> None:
    with pytest.raises(InputError) as raised:
        set_up(shlex.split(f"{SMALL} {line}"))
    said = message_of(raised.value)
    assert re.search(message, said), said
    assert "\n" not in said
    assert "Namespace" not in said
    assert not list(Path().glob("runs/*/*"))


@pytest.mark.parametrize(
    "line",
    [
        "--trainer.logger.api_key hidden-1",
        "--trainer.logger.api_key=hidden-1",
        f"--trainer.logger {one('WandbLoger', api_key='hidden-1')}",
        "--trainer.logger '{class: WandbLogger, token: hidden-1}'",
        f"--trainer.callbacks={one('own_callbacks.Watch', password='hidden-1')}",
        "--trainer.callbacks '[{class_path: own_callbacks.Watch, init_args: {every: hidden-1, token: hidden-1}}]'",
        "--config secret.yaml",
    ],
)
def test_no_message_repeats_a_secret(line: str) -> None:
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": ["hidden-1"], "access_token": "hidden-1"}}
    Path("secret.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    with pytest.raises(InputError) as raised:
        run(["fit", *shlex.split(f"{SMALL} {line}")])
    assert "hidden" not in message_of(raised.value)


# --- Runs -------------------------------------------------------------------------------------------------------------


def fit(root: Path, line: str, name: str = "run") -> Path:
    """Train the small classifier with some options; return the run's folder."""
    arguments = shlex.split(f"{SMALL} --data.batch_size 20 --data.root {root} --name {name} {line}")
    assert run(["fit", *arguments]) == 0
    return Path("runs/classification") / name


@pytest.mark.slow
def test_checkpoints_of_averaged_weights_alone_score_as_the_run_does(cifar: Path) -> None:
    saved = {"class_path": "ModelCheckpoint", "init_args": {"filename": "light", "save_weights_only": True}}
    averaged = {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.5}}
    folder = fit(cifar, f"--trainer.callbacks {shlex.quote(json.dumps([averaged, saved]))}")
    (light,) = folder.rglob("light.ckpt")
    assert "optimizer_states" not in read_whole(light)
    for name, value in weights(folder / "checkpoints" / "last.ckpt").items():
        assert torch.equal(weights(light)[name], value), name
    assert run(["test", "--ckpt_path", str(light), "--runs", "apart"]) == 0


def weights(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint."""
    state: dict[str, torch.Tensor] = read_whole(file)["state_dict"]
    return state


def logged(folder: Path, name: str) -> list[float]:
    """The values of a metric, in order."""
    with (folder / "metrics.csv").open() as lines:
        return [float(row[name]) for row in csv.DictReader(lines) if row.get(name)]


@pytest.mark.slow
def test_callbacks_of_the_user_work_in_fit_and_in_every_later_command(cifar: Path) -> None:
    bar = one("RichProgressBar")
    folder = fit(cifar, f"--trainer.max_epochs 2 --trainer.callbacks {several(TOP, STOPPING, bar)}")
    kept = sorted((folder / "checkpoints").glob("*/*.ckpt"))
    assert len(kept) == 2, "names of metrics have slashes, which make folders"
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    for command in ("validate", "test", "predict"):
        assert run([command, "--ckpt_path", str(kept[0])]) == 0
        assert (folder / command / "result.json").is_file(), "it belongs to the run"
    assert run(["fit", "--ckpt_path", str(folder), "--trainer.max_epochs", "3"]) == 0
    assert len(logged(folder, "train/loss")) == 3


NO_BATCH_NORM = "--backbone convnext_atto --attention none"


@pytest.mark.parametrize(
    ("callback", "network"),
    [
        (one("StochasticWeightAveraging", swa_lrs=0.05, swa_epoch_start=1), ""),
        (one("StochasticWeightAveraging", swa_lrs=0.05, swa_epoch_start=1), NO_BATCH_NORM),
        (one("EMAWeightAveraging", decay=0.5), ""),
    ],
    ids=["SWA", "SWA without batch norm", "EMA"],
)
@pytest.mark.slow
def test_averages_of_weights_are_what_is_tested_kept_and_read_again(callback: str, network: str, cifar: Path) -> None:
    folder = fit(cifar, f"--trainer.max_epochs 2 {network} --trainer.callbacks {callback}")
    plain = fit(cifar, f"--trainer.max_epochs 2 {network}", name="plain")
    first, second = (weights(checkpoint_of(one)) for one in (folder, plain))
    assert any(not torch.equal(value, second[name]) for name, value in first.items()), "they are averages"
    assert run(["test", "--ckpt_path", str(folder)]) == 0
    scores = result(folder)["scores"]
    assert result(folder / "test")["scores"].items() <= scores.items(), "of the averages, before and after"
    assert run(["fit", "--config", str(folder / "config.yaml"), "--name", "again"]) == 0
    assert result(folder.with_name("again"))["scores"] == scores


@pytest.mark.slow
def test_a_learning_rate_and_a_batch_size_that_are_found_are_those_of_the_run(cifar: Path) -> None:
    rate = one("LearningRateFinder", num_training_steps=16)
    size = one("BatchSizeFinder", max_trials=2, steps_per_trial=1)
    line = "--data.batch_size 10 --trainer.max_epochs 2 --trainer.limit_train_batches 1.0"
    folder = fit(cifar, f"{line} --trainer.callbacks {several(rate, size)}")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    found = result(folder)["tuned"]
    assert config["trainer"]["callbacks"] is None
    assert config["data"]["init_args"]["batch_size"] == found["data.batch_size"] == 4
    optimizer = config["model"]["init_args"]["optimizer"]["init_args"]
    assert optimizer["lr"] == found["model.optimizer.lr"] != 0.1
    assert result(folder)["steps"] == 2 * 50
    assert run(["fit", "--config", str(folder / "config.yaml"), "--name", "again"]) == 0
    assert logged(folder.with_name("again"), "train/loss") == logged(folder, "train/loss"), (
        "its configuration repeats it"
    )
    with pytest.raises(InputError, match="are too few to find a learning rate by"):
        fit(cifar, f"--trainer.callbacks {rate}", name="short")


@pytest.mark.slow
def test_the_best_checkpoint_by_held_out_validation_is_tested(cifar: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = fit(cifar, "--best --data.validation 40 --trainer.max_epochs 3 --model.optimizer.lr 1")
    values = logged(folder, "val/score")
    best = values.index(max(values)) + 1
    tested = result(folder)["tested"]
    assert tested["checkpoint"] == "checkpoints/best.ckpt"
    assert (tested["by"], tested["epoch"]) == ("val/score", best)
    assert tested["value"] == pytest.approx(max(values), abs=1e-3)
    assert f"tests best.ckpt, of epoch {best} of 3" in capfd.readouterr().err
    for asked in (folder, folder / "checkpoints" / "best.ckpt"):
        assert run(["test", "--ckpt_path", str(asked)]) == 0
    scores = result(folder)["scores"]
    for evaluation in ("test", "test-2"):
        assert result(folder / evaluation)["scores"].items() <= scores.items()
    moved = folder.rename("moved")
    assert run(["fit", "--ckpt_path", str(moved), "--trainer.max_epochs", "4"]) == 0
    again = result(moved)["tested"]
    assert again["value"] >= tested["value"]
    assert (moved / again["checkpoint"]).is_file()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--best", r"CIFAR10 is its test set: --data.validation 5000 holds out"),
        ("--best --data.validation 40 --trainer.limit_val_batches 0", r"limit_val_batches is 0"),
        ("--best --data.validation 40 --trainer.check_val_every_n_epoch 2", r"none in 1 epochs: .*every_n_epoch is 2"),
        (
            "--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/acc",
            r"'val/acc', .*Closest: val/accuracy",
        ),
        ("--trainer.val_check_interval 5", r"val_check_interval"),
        ("--trainer.max_epochs -1", r"how long the run is"),
        ("--trainer.callbacks own_callbacks.Unset", r"Unset: OSError: the camera does not answer.*--traceback"),
        (
            f"--trainer.callbacks {one('ModelCheckpoint', monitor='val/best')}",
            r"ModelCheckpoint: monitor is 'val/best'",
        ),
        (f"--trainer.callbacks {one('BackboneFinetuning')}", r"backbone"),
        ("--model.optimizer LBFGS --trainer.precision 16-mixed --model.optimizer.max_iter no", r"max_iter"),
    ],
)
@pytest.mark.sampled(8)
def test_what_shows_when_all_is_built_is_said_before_the_first_step(line: str, message: str, cifar: Path) -> None:
    with pytest.raises(InputError, match=message) as raised:
        fit(cifar, line)
    assert "\n" not in message_of(raised.value)
    assert not Path("runs/classification/run").exists()


@pytest.mark.slow
def test_best_of_other_tasks_says_what_gives_a_validation_set(streets: Path, faces: Path) -> None:
    for task, root, message in (
        ("segmentation", streets, "--data CamVid"),
        ("face", faces, "verification sets are both"),
    ):
        with pytest.raises(InputError, match=message):
            run([*small(task, task), "--data.root", str(root), "--best"])


def test_errors_within_the_code_of_the_user_keep_their_traceback(cifar: Path) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fit(cifar, "--trainer.callbacks own_callbacks.Typo", name="typo")
    with pytest.raises(ValueError, match="a mistake in training") as raised:
        fit(cifar, "--trainer.callbacks own_callbacks.Late", name="late")
    assert not isinstance(raised.value, InputError)


def test_a_flag_shows_where_an_error_comes_from(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from relattn.cli.main import main

    line = ["relattn", "fit", *shlex.split(f"{SMALL} --trainer.devices 0")]
    for more, traced in ([], False), (["--traceback"], True):
        monkeypatch.setattr(sys, "argv", [*line, *more])
        assert main() == 2
        said = capfd.readouterr().err
        assert ("Traceback" in said) is traced
        assert said.splitlines()[-1].startswith("relattn: error: ")


@pytest.mark.slow
def test_fused_optimizers_are_clipped_in_mixed_precision_as_others_are(cifar: Path) -> None:
    line = "--trainer.precision bf16-mixed --trainer.gradient_clip_val 0.01 --model.optimizer.fused"
    fused, plain = (fit(cifar, f"{line} {value}", name=value) for value in ("true", "false"))
    first, second = (weights(checkpoint_of(folder)) for folder in (fused, plain))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first if name.endswith("weight"))


def test_gradients_are_divided_by_the_scale_of_the_loss_before_they_are_clipped() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    task: Any = SimpleNamespace(trainer=SimpleNamespace(precision_plugin=plugin))
    scaler.scale((weight**2).sum() / 2).backward()  # the gradient is the weight, of norm 5
    Task.configure_gradient_clipping(task, optimizer, 1.0)
    scaler.step(optimizer)
    torch.testing.assert_close(weight.detach(), torch.tensor([2.4, 3.2]))


@pytest.mark.slow
def test_overfit_batches_are_the_same_in_every_epoch(cifar: Path, people: Path) -> None:
    line = "--trainer.overfit_batches 1 --trainer.max_epochs 2 --model.optimizer.lr 1e-12 --model.schedule null"
    line += " --trainer.check_val_every_n_epoch 1"
    loss = logged(fit(cifar, line), "train/loss")
    assert loss[0] == pytest.approx(loss[1], abs=1e-4)
    more = [*shlex.split(line), "--data.eval_batch_size", "16"]
    with pytest.warns(UserWarning, match="Validation is left out"):
        assert run([*small("reid", "reid"), "--data.root", str(people), "--name", "run", *more]) == 0
    loss = logged(Path("runs/reid/run"), "train/loss")
    assert loss[0] == pytest.approx(loss[1], abs=1e-4)


def test_loggers_of_the_user_write_beside_the_run_s_own(cifar: Path) -> None:
    loggers = several(one("CSVLogger", save_dir="logs", name="mine", version="a"), one("CSVLogger", save_dir="{run}"))
    folder = fit(cifar, f"--trainer.logger {loggers}")
    assert "val/score" in Path("logs/mine/a/metrics.csv").read_text()
    assert len(list(folder.rglob("metrics.csv"))) == 2


def test_wandb_without_an_account_is_refused_before_anything_is_written(
    cifar: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(InputError, match=r"(?i)api.key") as raised:
        fit(cifar, "--logger wandb")
    assert "\n" not in message_of(raised.value)
    assert not list(Path().glob("runs/*/*/config.yaml"))


def test_tensorboard_lies_in_the_run_s_folder(cifar: Path) -> None:
    try:
        import tensorboard  # noqa: F401 (an extra)
    except ImportError:
        with pytest.raises(InputError, match="tensorboard"):
            fit(cifar, "--logger tensorboard")
        return
    folder = fit(cifar, "--logger tensorboard")
    assert list(folder.glob("tensorboard/events.*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "--trainer.precision 16-mixed --trainer.gradient_clip_val 1",
        "--trainer.precision 16-true --trainer.gradient_clip_val 1",
        "--trainer.precision bf16-true --trainer.gradient_clip_val 1 --trainer.gradient_clip_algorithm value",
        "--trainer.precision 64-true --trainer.gradient_clip_val 1",
        "--trainer.accumulate_grad_batches 2",
        "--trainer.val_check_interval 1",
        "--trainer.val_check_interval 3 --trainer.check_val_every_n_epoch null --trainer.max_epochs 2",
        "--trainer.limit_val_batches 0",
        "--trainer.max_steps 3 --trainer.max_epochs -1",
        "--trainer.max_time 00:00:00:01 --trainer.max_epochs 1000",
        "--trainer.num_sanity_val_steps -1",
        "--trainer.fast_dev_run 2",
        "--trainer.profiler simple",
        "--trainer.enable_checkpointing false",
        "--trainer.reload_dataloaders_every_n_epochs 1 --trainer.max_epochs 2",
        "--trainer.detect_anomaly true",
        "--trainer.inference_mode false",
        "--trainer.enable_progress_bar true --trainer.enable_model_summary true",
        "--trainer.callbacks ModelCheckpoint",
        f"--trainer.callbacks {one('Timer', duration='00:01:00:00')}",
        "--trainer.callbacks DeviceStatsMonitor",
        f"--trainer.callbacks {one('GradientAccumulationScheduler', scheduling={'0': 2})}",
        f"--trainer.callbacks {one('ModelPruning', pruning_fn='l1_unstructured')} --model.channels_last false",
        "--trainer.callbacks own_callbacks.Watch",
        "--model.optimizer AdamW",
        "--model.optimizer LBFGS --model.channels_last false",
        "--config longer.yaml --config stopping.yaml",
        "--logger wandb",
    ],
)
def test_a_run_with_an_option_ends_well_and_its_checkpoint_is_tested(line: str, cifar: Path) -> None:
    folder = fit(cifar, line)
    if "fast_dev_run" in line:
        assert not folder.exists()
        return
    assert "test/score" in result(folder)["scores"]
    if "enable_checkpointing" not in line:
        assert run(["test", "--ckpt_path", str(folder)]) == 0
        assert result(folder / "test")["scores"].items() <= result(folder)["scores"].items()
