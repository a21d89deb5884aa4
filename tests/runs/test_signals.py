"""Signals: their effect before, during and after training, and output to a closed pipe."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from killed_runs import REFUSED, differences, in_child, result_of, under_slurm
from small_runs import RUNS, checkpoint_of, fit, result

from relattn.cli.main import run
from relattn.cli.streams import Unbreakable, unbreakable_output
from relattn.runs.checkpoints import Checkpoints, read_whole
from relattn.runs.interruption import Interruption, Signals
from relattn.runs.record import RunRecord

STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(autouse=True)
def signals_have_their_usual_handlers() -> Iterator[None]:
    """A parallel run of the tests ignores Ctrl-C in its processes."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_ends_a_process_that_does_not_train_and_is_remembered_by_one_that_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Signals() as signals:
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), number)
        assert ended.value.code == 128 + number
        signals.training = True
        os.kill(os.getpid(), number)
        assert signals.told is number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_training_at_once() -> None:
    with Signals() as signals:
        signals.training = True
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
        assert ended.value.code == 130
        signals.process = 0  # as in a worker process, which a terminal signals too
        os.kill(os.getpid(), signal.SIGINT)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_output_without_a_reader_is_dropped() -> None:
    reading, writing = os.pipe()
    stream = Unbreakable(os.fdopen(writing, "w", buffering=1))
    stream.write("heard\n")
    os.close(reading)
    for _ in range(3):
        assert stream.write("not heard\n") == 10
        stream.flush()
    assert not stream.isatty()
    stream.close()


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with unbreakable_output():
        assert isinstance(sys.stdout, Unbreakable)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.slow
def test_a_signal_in_the_last_step_ends_the_run_before_its_test(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Interruption.on_train_batch_start

    def tell(self, trainer, module, batch, batch_idx) -> None:
        begin(self, trainer, module, batch, batch_idx)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", tell)
        with pytest.raises(SystemExit) as ended:
            fit("classification", cifar, "--name", "mine")
    assert ended.value.code == 143
    folder = Path("runs/classification/mine")
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert not (folder / "result.json").exists()
    assert run(["fit", "--ckpt_path", str(folder)]) == 0
    assert {"val/score", "test/score", "train/loss"} <= result(folder)["scores"].keys()


@pytest.mark.slow
def test_a_signal_in_the_final_test_ends_it_and_going_on_makes_it(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = RunRecord.on_test_start

    def tell(self, trainer, module) -> None:
        begin(self, trainer, module)
        os.kill(os.getpid(), signal.SIGHUP)

    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "on_test_start", tell)
        with pytest.raises(SystemExit) as ended:
            fit("classification", cifar, "--name", "mine")
    assert ended.value.code == 129
    assert run(["fit", "--ckpt_path", "last", "--name", "mine"]) == 0
    assert {"val/score", "test/score"} <= result(Path("runs/classification/mine"))["scores"].keys()


PHASES = {
    "before the first step": (Interruption, "on_train_start"),
    "a step": (Interruption, "on_train_batch_start"),
    "validation": (RunRecord, "on_validation_start"),
    "saving": (Checkpoints, "save_checkpoint"),
    "the final test": (RunRecord, "on_test_start"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGUSR1]],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP", "SIGUSR1 under SLURM"],
)
@pytest.mark.parametrize("phase", PHASES)
def test_every_signal_in_every_phase_has_its_exit_code_and_loses_nothing(
    phase: str, told: list[signal.Signals], cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*RUNS["classification"], "--data.root", str(cifar), "--name", "mine"]
    folder, log = Path("runs/classification/mine"), Path("log")
    assert in_child(line, None, log) == 0, log.read_text()
    whole = folder.rename("whole")
    if signal.SIGUSR1 in told:
        under_slurm(monkeypatch)

    def prepare() -> None:
        owner, name = PHASES[phase]
        function = getattr(owner, name)
        left = list(told)

        def tell(*arguments: object, **options: object) -> None:
            while left:
                os.kill(os.getpid(), left.pop(0))
            function(*arguments, **options)

        setattr(owner, name, tell)

    assert in_child(line, prepare, log) == 128 + told[0], log.read_text()
    assert not (folder / "result.json").exists()
    assert Path("asked").is_file() == (signal.SIGUSR1 in told)
    if not checkpoint_of(folder).is_file():
        assert phase == "before the first step" or len(told) == 2, "nothing else is without a checkpoint"
        if folder.is_dir():
            assert in_child(["fit", "--ckpt_path", str(folder)], None, log) == REFUSED
            assert "Start it again" in log.read_text()
        return
    assert in_child(["fit", "--ckpt_path", str(folder)], None, log) == 0, log.read_text()
    # A run that stops within its only epoch has written one more checkpoint.
    assert [found for found in differences(whole, folder) if not found.startswith("previous.ckpt")] == []


@pytest.mark.parametrize(
    ("owner", "name", "told", "code"),
    [
        (RunRecord, "on_validation_start", [signal.SIGTERM], 143),
        (Checkpoints, "save_checkpoint", [signal.SIGHUP], 129),
        (Checkpoints, "save_checkpoint", [signal.SIGINT, signal.SIGTERM], 143),
    ],
    ids=["before validation", "while saving", "twice while saving"],
)
@pytest.mark.sampled(3)
def test_a_signal_in_validation_or_while_saving_skips_and_repeats_nothing(
    owner: type,
    name: str,
    told: list[signal.Signals],
    code: int,
    cifar: Path,
    classification_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = getattr(owner, name)

    def tell(*arguments: object, **options: object) -> None:
        for number in told:
            os.kill(os.getpid(), number)
        function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, tell)
        with pytest.raises(SystemExit) as ended:
            fit("classification", cifar, "--name", "small")
    assert ended.value.code == code
    folder = Path("runs/classification/small")
    assert not (folder / "result.json").exists()
    assert run(["fit", "--ckpt_path", str(folder)]) == 0
    assert (folder / "metrics.csv").read_text() == (classification_run / "metrics.csv").read_text()
    assert result_of(folder) == result_of(classification_run)
    states = [read_whole(checkpoint_of(one))["state_dict"] for one in (folder, classification_run)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
