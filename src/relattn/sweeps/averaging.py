"""Which runs of a table's cell are averaged: one for each seed, with equal options and equal data, the newest ones."""

from collections.abc import Sequence

from relattn.runs.identity import changes, label
from relattn.sweeps.placing import Placed
from relattn.sweeps.records import modified


def alike(placed: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """The runs of a place that can be averaged, one per seed, and sentences on those left out.

    They belong to the same experiment as the newest run.
    """
    notes = [
        f"{one.record.name} was tested on a part of the test set ({one.record.partial}), and is left out."
        for one in placed
        if one.record.partial
    ]
    whole = sorted((one for one in placed if not one.record.partial), key=lambda one: modified(one.record))
    if not whole:
        return [], notes
    newest = whole[-1]
    same = [one for one in whole if one.record.experiment == newest.record.experiment]
    notes += [why_not_averaged(one, newest) for one in whole if one not in same]
    chosen = {one.record.seed: one for one in same}
    for older in [one for one in same if one is not chosen[one.record.seed]]:
        newer = chosen[older.record.seed].record.name
        notes.append(f"{older.record.name} is left out: {newer} has the same seed and is newer.")
    return list(chosen.values()), notes


def why_not_averaged(older: Placed, newest: Placed) -> str:
    """A sentence on a run that is left out because it differs from the newest of its cell in more than the seed."""
    record, other = older.record, newest.record
    if differing := changes(other.decisive, record.decisive):
        what = label((), {name: values[1] for name, values in differing.items()})
        if what == label((), {name: values[0] for name, values in differing.items()}):  # classes of one name
            what = ", ".join(sorted(differing))
        why = f"has {what}"
    elif older.departure != newest.departure:
        why = f"has {older.departure}" if older.departure else "follows the recipe"
    else:
        why = "was tested on generated data" if record.generated and not other.generated else "was tested on other data"
    return f"{record.name} is left out: unlike the newest run, {other.name}, it {why}."
