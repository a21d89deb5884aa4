"""A run that is stopped or killed, then resumed, ends exactly like an uninterrupted one, bit for bit, in every task."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from killed_runs import under_slurm
from lightning.pytorch import Trainer
from small_runs import RUNS

from relattn import publish
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs.checkpoints import read_whole
from relattn.runs.interruption import Interruption
from relattn.runs.record import RunRecord
from relattn.tasks.classification import Classification

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

COMMON = ("--trainer", "deterministic", "--logger", "csv", "--trainer.log_every_n_steps", "1")
EPOCHS = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3")
VARIED = {
    "classification": ("--attention", "stra", "--data.batch_size", "60"),
    "reid": ("--attention", "none", "--model.frozen_epochs", "1"),  # early stages are frozen for an epoch
    "segmentation": ("--attention", "none"),
    "face": ("--attention", "none", "--data.batch_size", "8"),  # dropout is drawn anew at every step
}


def command(task: str, root: Path, name: str, *, workers: int = 0) -> list[str]:
    reading = () if task == "classification" else ("--data.workers", str(workers))
    place = ("--data.root", str(root), "--name", name)
    return [*RUNS[task], *EPOCHS, *VARIED[task], *COMMON, *place, *reading]


def folder_of(name: str) -> Path:
    (folder,) = Path("runs").glob(f"*/{name}")
    return folder


def assert_same(first: Path, second: Path) -> None:
    """Weights, optimizer and scores are equal, bit for bit."""
    one, other = (read_whole(folder / "checkpoints" / "last.ckpt") for folder in (first, second))
    assert one["global_step"] == other["global_step"]
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    assert repr(one["optimizer_states"]) == repr(other["optimizer_states"])
    assert repr(one["lr_schedulers"]) == repr(other["lr_schedulers"])
    scores = [json.loads((folder / "result.json").read_text())["scores"] for folder in (first, second)]
    assert scores[0] == scores[1]


def curve(folder: Path) -> dict[str, str]:
    """The training loss by epoch, over all starts of a run."""
    found = {}
    for file in sorted(folder.glob("metrics*.csv")):
        with file.open() as lines:
            found |= {row["epoch"]: row["train/loss"] for row in csv.DictReader(lines) if row.get("train/loss")}
    return found


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    sets = {"classification": "cifar", "reid": "people", "segmentation": "streets", "face": "faces"}
    return lambda task: request.getfixturevalue(sets[task])


@contextmanager
def stopped_at(epoch: int, batch: int, number: int) -> Iterator[None]:
    """Send this process a signal when a batch begins."""
    begin = Interruption.on_train_batch_start

    def tell(self, trainer, module, data, batch_idx) -> None:
        begin(self, trainer, module, data, batch_idx)
        if (trainer.current_epoch, batch_idx) == (epoch, batch):
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", tell)
        yield


@pytest.mark.parametrize(
    "task", ["reid", *(pytest.param(name, marks=pytest.mark.slow) for name in ("face", "segmentation"))]
)
@pytest.mark.slow
def test_a_run_that_is_told_to_stop_goes_on_from_that_step(task: str, root, capsys) -> None:
    assert run(command(task, root(task), "whole")) == 0
    with stopped_at(epoch=1, batch=1, number=signal.SIGTERM), pytest.raises(SystemExit) as stopped:
        run(command(task, root(task), "stopped"))
    folder = folder_of("stopped")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert f"Resume with: relattn fit --ckpt_path {folder}" in capsys.readouterr().err
    kept = read_whole(folder / "checkpoints" / "last.ckpt")
    steps = kept["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    assert (kept["epoch"], steps) == (1, 2), "it stopped amid the second epoch"
    assert not (folder / "result.json").exists()
    assert run(["fit", "--ckpt_path", str(folder)]) == 0
    assert_same(folder_of("whole"), folder)
    assert curve(folder) == curve(folder_of("whole")), "the epoch that was cut has the mean of all its steps"


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(0, marks=pytest.mark.slow),
        2,  # the last step of an epoch waits for its end
    ],
)
@pytest.mark.slow
def test_ctrl_c_stops_after_the_step(batch: int, cifar: Path, capsys) -> None:
    assert run(command("classification", cifar, "whole")) == 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stopped_at(epoch=0, batch=batch, number=signal.SIGINT), pytest.raises(SystemExit) as stopped:
            run(command("classification", cifar, "stopped"))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    folder = folder_of("stopped")
    assert stopped.value.code == 128 + signal.SIGINT
    assert "stops after this step" in capsys.readouterr().err
    assert read_whole(folder / "checkpoints" / "last.ckpt")["global_step"] == batch + 1
    assert run(["fit", "--ckpt_path", "last", "--name", "stopped"]) == 0
    assert_same(folder_of("whole"), folder)
    assert curve(folder) == curve(folder_of("whole"))


def test_slurm_is_asked_to_start_the_job_again(cifar: Path, monkeypatch) -> None:
    asked = under_slurm(monkeypatch)
    with stopped_at(epoch=1, batch=0, number=signal.SIGUSR1), pytest.raises(SystemExit):
        run(command("classification", cifar, "mine"))
    assert asked.read_text() == "requeue 17\n"
    folder = folder_of("mine")
    assert read_whole(folder / "checkpoints" / "last.ckpt")["global_step"] == 4
    assert not list(folder.glob("hpc_ckpt*"))


def test_a_run_without_checkpoints_stops_too(cifar: Path, capsys) -> None:
    with stopped_at(epoch=0, batch=0, number=signal.SIGTERM), pytest.raises(SystemExit):
        run([*command("classification", cifar, "mine"), "--trainer.enable_checkpointing", "false"])
    assert "after 1 steps. There is no checkpoint." in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("task", RUNS)
def test_a_run_that_is_killed_goes_on_from_the_end_of_an_epoch(task: str, workers: int, root) -> None:
    program = [sys.executable, "-m", "relattn"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*program, *command(task, root(task), "whole")], env=environment, check=True)
    killed = subprocess.Popen([*program, *command(task, root(task), "killed", workers=workers)], env=environment)
    checkpoints = [Path("runs") / task / "killed" / "checkpoints" / "last.ckpt"]
    while not any(file.is_file() for file in checkpoints):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    subprocess.run([*program, "fit", "--ckpt_path", "last", "--name", "killed"], env=environment, check=True)
    assert_same(folder_of("whole"), folder_of("killed"))


# --- Killed at a chosen moment ----------------------------------------------------------------------------------------


def kill(*_: object, **__: object) -> None:
    """Kill the process as the operating system does when it needs memory; takes the place of a function."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_step(self: Interruption, trainer: Trainer, module: object, data: object, batch_idx: int) -> None:
    """Kill the process within the second epoch."""
    if (trainer.current_epoch, batch_idx) == (1, 1):
        kill()


def kill_amid_second_checkpoint(content: dict[str, Any], stream: IO[bytes]) -> None:
    """Kill the process when half of the second checkpoint is on the disk."""
    whole = io.BytesIO()
    WRITE(content, whole)
    if content["epoch"] == 0:
        stream.write(whole.getvalue())
        return
    stream.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    stream.flush()
    kill()


WRITE = torch.save

MOMENTS: dict[str, tuple[Any, str, Callable[..., None]]] = {
    "when its configuration is written": (publish, "sync_folder", kill),
    "within an epoch": (Interruption, "on_train_batch_start", kill_at_step),
    "in validation": (Classification, "on_validation_epoch_end", kill),
    "while a checkpoint is written": (torch, "save", kill_amid_second_checkpoint),
    "before a checkpoint takes its place": (publish, "keep", kill),
    "in the final test": (Classification, "test_step", kill),
    "before the result is written": (RunRecord, "write_result", kill),
    "while the result is written": (RunRecord, "costs", kill),
}
"""Where a process is killed, and the function that is replaced for this."""


def killed(moment: str, arguments: list[str]) -> None:
    """Run a command in a process that is killed at a moment."""
    child = os.fork()
    if child == 0:
        try:
            setattr(*MOMENTS[moment])
            run(arguments)
        finally:
            os._exit(0)  # it should have been killed before
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), moment
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_was_not(cifar: Path) -> None:
    assert run(command("classification", cifar, "whole")) == 0
    whole = folder_of("whole")
    for number, moment in enumerate(MOMENTS):
        start = command("classification", cifar, f"killed-{number}")
        killed(moment, start)
        folder = folder_of(f"killed-{number}")
        if any((folder / "checkpoints").glob("*.ckpt")):
            assert run(["fit", "--ckpt_path", str(folder)]) == 0, moment
        else:  # before its first checkpoint: there is nothing to resume
            with pytest.raises(InputError, match="Start it again"):
                run(["fit", "--ckpt_path", str(folder)])
            shutil.rmtree(folder)
            assert run(start) == 0
        assert_same(whole, folder)
        assert curve(folder) == curve(whole), moment
        left = {path.name for path in folder.rglob("*") if path.name.endswith(".tmp")}
        assert len(left) <= 1, "the file that was being written, at most"


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(cifar: Path) -> None:
    program = [sys.executable, "-m", "relattn"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "40"]
    running = subprocess.Popen(
        [*program, *command("classification", cifar, "mine"), *two],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    file = Path("runs/classification/mine/checkpoints/last.ckpt")
    while not file.is_file():
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)  # to the first process alone, as `kill` does
    _, said = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM
    assert said.count("Resume with") == 1
    before = read_whole(file)["global_step"]
    subprocess.run(
        [*program, "fit", "--ckpt_path", str(file), "--trainer.max_epochs", str(before // 3 + 2)],
        env=environment,
        check=True,
    )
    assert read_whole(file)["global_step"] == (before // 3 + 2) * 3
