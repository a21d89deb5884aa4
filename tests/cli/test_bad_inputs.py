"""Every bad input of the catalogue is refused with its message, and nothing is run, written or overwritten."""

import re
import shlex
from pathlib import Path

import pytest
from bad_files import CHECKPOINTS, COMMANDS, DATA, IMAGES, MANIFESTS
from bad_inputs import CONFIGURATION, DEVICES, NUMBERS, RUNS, Case
from spoilt_inputs import spoil

from relattn.cli.main import message_of, run
from relattn.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

PARTS = {
    "configuration": CONFIGURATION,
    "numbers": NUMBERS,
    "devices": DEVICES,
    "data": DATA,
    "images": IMAGES,
    "manifests": MANIFESTS,
    "checkpoints": CHECKPOINTS,
    "commands": COMMANDS,
}
CASES = [pytest.param(case, id=f"{part}: {case.name}") for part, cases in PARTS.items() for case in cases]


@pytest.fixture(scope="session")
def sets(cifar: Path, people: Path, streets: Path, faces: Path) -> dict[str, Path]:
    return {"cifar": cifar, "people": people, "streets": streets, "faces": faces}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(10)
def test_a_bad_input_is_refused_with_its_message(
    case: Case, sets: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(case.spoil, sets)
    paths = {**sets, "face": min((sets["faces"] / "faces" / "train").rglob("*.*g"))}
    line = case.line.format(**{name: base.format(**sets) for name, base in RUNS.items()}, **paths)
    try:
        run(shlex.split(line))
    except InputError as error:
        message = message_of(error)
    except SystemExit:  # argparse's, of commands with few options
        message = capfd.readouterr().err
        assert message.startswith(f"usage: relattn {line.split()[0]}")
    else:
        pytest.fail("it was taken")
    assert re.search(case.message, message, re.DOTALL), message
    assert "Traceback" not in message
    assert "jsonargparse" not in message
    assert not Path("was_here").exists()
    assert not list(Path().glob("runs/*/*/checkpoints/*")), "nothing was trained"


def test_the_catalogue_is_large_and_its_names_are_unique() -> None:
    names = [case.id for case in CASES]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
