"""A command that is refused, superfluous or failing leaves a finished run and everything around it unchanged."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import RUNS

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs import run_folder

LONGER = ("--trainer.max_epochs", "2")
MISSPELT = '[{"class_path": "EarlyStopping", "init_args": {"monitor": "val/nothing"}}]'
OTHER_BACKBONE = {"face": "test_vit"}
OTHER_DATA = {"classification": "Market1501"}

COMPLETE = [
    (("fit", "--ckpt_path", "RUN"), r"is complete: 1 of 1 epochs. To train longer: --trainer.max_epochs 2\."),
    (("fit", "--ckpt_path", "last", "--name", "small"), "is complete"),
    (("fit", "--ckpt_path", "RUN", "--logger", "wandb"), "is complete"),
]
"""Superfluous commands with their messages; the exit status is 0."""

REFUSED = [
    # Another run under the same name.
    (("fit", "--ckpt_path", "RUN", *LONGER, "--seed_everything", "7"), "--seed_everything is 7"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--attention", "se"), "--model.attention"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--backbone", "BACKBONE"), "--model.backbone is"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--data", "DATA"), "--data"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--model.optimizer", "torch.optim.Rprop"), "--model.optimizer is"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--name", "other"), "--name is given"),
    (("fit", "TASK", "--name", "small"), "small exists. Choose another --name"),
    # Runs that cannot be planned.
    (("fit", "--ckpt_path", "RUN", "--trainer.max_steps", "1"), "a run cannot become shorter"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--model.optimizer.lr", "nan"), "expected a finite number"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--trainer.callbacks", MISSPELT), "monitor is 'val/nothing'"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--trainer.precision", "17"), "precision"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--gpus", "3"), "--gpus|GPU"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--model.momentum", "0.9"), "momentum"),
    # Data that do not exist, or are too few for a batch.
    (("fit", "--ckpt_path", "RUN", *LONGER, "--data.root", "nowhere", "--logger", "wandb"), "nowhere"),
    (("fit", "--ckpt_path", "RUN", *LONGER, "--data.batch_size", "0"), "batch"),
    (("test", "--ckpt_path", "RUN", "--data.root", "nowhere"), "nowhere"),
    (("test", "--ckpt_path", "RUN", "--data.root", "nowhere", "--logger", "wandb"), "nowhere"),
    (("validate", "--ckpt_path", "RUN", "--data.root", "nowhere"), "nowhere"),
    (("test", "--ckpt_path", "RUN/checkpoints/first.ckpt"), "no such file"),
    (("test", "--ckpt_path", "RUN", "--test_data", "nothing_like_it"), "nothing_like_it"),
]
"""Refused commands with their messages."""


def digest(folder: Path) -> str:
    """SHA-256 of every name and every byte under a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)}{path.is_dir()}".encode())
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("task", RUNS)
def test_refused_and_superfluous_commands_change_nothing(
    task: str,
    request: pytest.FixtureRequest,
    copy_of: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copy_of(request.getfixturevalue(f"{task}_run"))
    before = digest(Path.cwd())
    words = {"BACKBONE": OTHER_BACKBONE.get(task, "resnet20"), "DATA": OTHER_DATA.get(task, "CIFAR10")}

    def spelt(arguments: tuple[str, ...]) -> list[str]:
        if "TASK" in arguments:
            return [*RUNS[task], "--name", "small"]
        return [words.get(part, part.replace("RUN", str(folder))) for part in arguments]

    for arguments, said in COMPLETE:
        assert run(spelt(arguments)) == 0
        assert re.search(said, capsys.readouterr().err)
        assert digest(Path.cwd()) == before, arguments
    for arguments, said in REFUSED:
        with pytest.raises(InputError, match=said):
            run(spelt(arguments))
        assert digest(Path.cwd()) == before, arguments


@pytest.mark.slow
def test_a_run_that_another_process_works_on_is_left_alone(
    classification_run: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(classification_run)
    before = digest(Path.cwd())
    held = run_folder.lock(folder)
    assert held is not None
    with pytest.raises(InputError, match="Another process is working on"):
        run(["fit", "--ckpt_path", str(folder), *LONGER])
    os.close(held)
    assert digest(Path.cwd()) == before
