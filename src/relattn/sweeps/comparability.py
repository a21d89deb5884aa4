"""Differences between runs that should be the same: code, data, libraries, numerics and machine.

Scores of such runs may differ for a reason that no table shows, so reports name the differences.
"""

from collections.abc import Sequence
from typing import Any

from relattn.errors import some_of
from relattn.sweeps.records import Record

NAMED = 4
"""Maximum number of runs named in a sentence."""

ASKED = {
    "precision": "trainer.precision",
    "deterministic mode": "trainer.deterministic",
    "number of processes": "trainer.devices",
}
"""Sweep options that cause differences on purpose: runs that were given different values compare them."""


def differences(records: Sequence[Record]) -> list[str]:
    """One sentence for each property in which finished runs differ, naming the runs that differ from most."""
    found: dict[str, dict[str, list[str]]] = {}
    finished = [record for record in records if record.result is not None]
    for record in finished:
        for what, value in facts(record).items():
            found.setdefault(what, {}).setdefault(value, []).append(record.name)
    options = [run.sweep.get("options") or {} for run in finished]
    wanted = {what for what, option in ASKED.items() if len({str(one.get(option)) for one in options}) > 1}
    return [sentence(what, runs) for what, runs in found.items() if len(runs) > 1 and what not in wanted]


def silent(records: Sequence[Record]) -> str:
    """A sentence on finished runs that do not record their code and data; empty if all do."""
    finished = [record for record in records if record.result is not None]
    lacking = [record for record in finished if not record.git or "fingerprint" not in (record.result or {})]
    if not lacking:
        return ""
    which = "The run does" if len(finished) == 1 else f"{len(lacking)} of {len(finished)} runs do"
    return f"{which} not record code and data, so these could not be compared."


def sentence(what: str, runs: dict[str, list[str]]) -> str:
    """The sentence on a difference; `runs` are the runs' names by value."""
    groups = sorted(runs.items(), key=lambda group: -len(group[1]))
    most = len(groups[0][1]) > len(groups[1][1])
    listed = [
        f"{value} ({len(names)} runs)" if most and place == 0 else f"{value} ({some_of(names, NAMED)})"
        for place, (value, names) in enumerate(groups)
    ]
    return f"Runs differ in {what}: {', '.join(listed)}."


def facts(record: Record) -> dict[str, str]:
    """The properties that should be the same, by display name; for a resumed run, all values it had, in order."""
    result = record.result or {}
    times = [*result.get("earlier", []), {**result, "git": record.git}]
    found: dict[str, list[str]] = {}
    for time in times:
        for what, value in facts_of(time).items():
            values = found.setdefault(what, [])
            if value not in values:
                values.append(value)
    return {what: ", then ".join(values) for what, values in found.items()}


def facts_of(result: dict[str, Any]) -> dict[str, str]:
    """The properties that should be the same, as one start of a run records them."""
    found = {}
    if git := result.get("git"):
        found["commit"] = commit(git)
    if "fingerprint" in result:
        found[f"the files of {result.get('data', 'the data')}"] = result["fingerprint"]
    found |= {f"version of {name}": str(version) for name, version in result.get("versions", {}).items()}
    if "deterministic" in result:
        found["deterministic mode"] = {True: "on", False: "off"}.get(result["deterministic"], "warnings only")
    for what, name in (("precision", "precision"), ("device", "device"), ("number of processes", "processes")):
        if name in result:
            found[what] = str(result[name])
    return found


def commit(git: dict[str, Any]) -> str:
    """The state of a checkout in a few characters."""
    if not git.get("commit"):
        return str(git.get("why", "unknown"))
    changes = f" with changes {git.get('diff', '')}".rstrip() if git.get("changed") else ""
    return f"{str(git['commit'])[:10]}{changes}"
