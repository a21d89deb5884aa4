"""Validation of run records: only printable texts, numbers, and entries of the expected types.

Run folders may come from other people. Everything that reports, plans and dashboards read from them passes through
here, so that a malformed folder affects only itself.
"""

from collections.abc import Mapping
from typing import Any

from relattn.printable import in_one_line

NUMBERS = ("seconds", "epochs", "steps", "parameters", "macs", "seconds_per_step", "processes")
SCALARS = (
    *("task", "data", "fingerprint", "label", "attention", "backbone", "device", "weights", "precision", "run"),
    *("deterministic", "seed", "genuine", "headline", "sweep", "name", "row", "column", "cell", "key"),
    *("started", "ended"),
)
DICTIONARIES = ("scores", "versions", "partial", "overrides", "git", "options", "parameters", "labels", "departures")
LISTS = ("earlier", "columns")
"""Entries of records by type; other entries are not read."""

DEEPEST = 8


def sound_record(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The content of `result.json` or `sweep.json`, and the names of dropped entries, which have the wrong type."""
    found = {in_one_line(name): plain(value) for name, value in content.items()}
    # In a plan, `parameters` are those of a sweep; in a result, their number.
    kinds: dict[str, Any] = {**dict.fromkeys(DICTIONARIES, is_dictionary), **dict.fromkeys(LISTS, is_list)}
    kinds |= {**dict.fromkeys(SCALARS, is_scalar), **dict.fromkeys(NUMBERS, is_number)}
    if "parameters" in found and is_dictionary(found["parameters"]):
        kinds["parameters"] = is_dictionary
    wrong = [name for name, is_kind in kinds.items() if found.get(name) is not None and not is_kind(found[name])]
    for name in wrong:
        del found[name]
    if found.get("earlier"):
        found["earlier"] = [sound_record(one)[0] for one in found["earlier"]]
    if "scores" in found:
        scores = found["scores"] or {}
        found["scores"] = {name: value for name, value in scores.items() if is_number(value)}
        wrong += [f"scores.{name}" for name in scores if name not in found["scores"]]
    return found, wrong


def plain(value: Any, depth: int = 0) -> Any:
    """A JSON value with only printable single-line texts; values nested deeper than in records become text."""
    if isinstance(value, str) or depth > DEEPEST:
        return in_one_line(value)
    if isinstance(value, Mapping):
        return {in_one_line(name): plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, depth + 1) for part in value]
    return value if isinstance(value, bool | int | float) or value is None else in_one_line(value)


def is_number(value: Any) -> bool:
    """Whether a value is a number to compute with: NaN, infinity and 10**400 are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 if isinstance(value, float) else abs(value) < 2**63


def is_scalar(value: Any) -> bool:
    """Whether a value is a single text, number or truth value."""
    return isinstance(value, str | bool) or is_number(value)


def is_dictionary(value: Any) -> bool:
    """Whether a value is a dictionary with text keys."""
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    """Whether a value is a list of dictionaries, such as the earlier starts of a run."""
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)
