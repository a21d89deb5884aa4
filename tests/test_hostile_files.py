"""A corpus of damaged and hostile files: each is refused with one clear error and has no other effect.

None runs code, writes a file, ends its process by a signal, hangs, or takes unbounded memory.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_files import write_corpus

HELPER = Path(__file__).parent / "helpers" / "read_hostile.py"

MOST_MEBIBYTES = 700
"""Memory limit for reading any file: the largest image that is decoded, plus a margin."""


pytestmark = pytest.mark.slow  # a process that reads some 200 files


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """The outcome of every file, and the folder in which they were read."""
    folder, place = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("place")
    corpus = write_corpus(folder)
    harmless = {(entry.name, entry.reader): entry.harmless for entry in corpus}
    command = [sys.executable, str(HELPER), str(folder)]
    listed = json.dumps([[entry.name, entry.reader] for entry in corpus])
    done = subprocess.run(command, input=listed, capture_output=True, text=True, cwd=place, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(corpus)
    return [{**line, "harmless": harmless[line["name"], line["reader"]]} for line in found], place


def test_each_file_is_refused_with_one_clear_error(outcomes: tuple[list[dict[str, Any]], Path]) -> None:
    found, _ = outcomes
    assert len({line["name"] for line in found}) >= 150
    wrong = [
        line
        for line in found
        if line["status"] != 0
        or not (line["said"].startswith("InputError: ") or (line["harmless"] and line["said"] == "read"))
    ]
    assert not wrong, json.dumps(wrong, indent=1)
    unnamed = [line for line in found if line["said"] != "read" and line["name"].rpartition(".")[0] not in line["said"]]
    assert not unnamed, json.dumps(unnamed, indent=1)
    assert max(len(line["said"]) for line in found) < 1500


def test_no_file_takes_more_memory_than_there_is(outcomes: tuple[list[dict[str, Any]], Path]) -> None:
    assert [line for line in outcomes[0] if line["mebibytes"] > MOST_MEBIBYTES] == []


def test_no_file_writes_anything(outcomes: tuple[list[dict[str, Any]], Path]) -> None:
    assert [path.name for path in outcomes[1].iterdir() if not path.name.startswith("extracted-")] == []
