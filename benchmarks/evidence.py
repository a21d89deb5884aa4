"""What the runs of an evidence sweep gave: JSON in benchmarks/results, and the table that README and docs show.

    relattn sweep evidence_people
    python benchmarks/evidence.py evidence_people --runs runs/sweeps

The sweep file names rows, labels and scores. Cells are means and standard deviations over seeds. A run that has not
finished, departs from the sweep's file or was tested in part is left out and named; two runs of one seed, or seeds of
different recipes in one row, are refused. Runs of the JSON that the folder lacks stay in it. `--table` prints the table
of a JSON that is there.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from relattn.runs.run_folder import read_json
from relattn.sweeps.layout import Score, scores_of
from relattn.sweeps.text import over_seeds

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
KEPT = (
    "seed",
    "identity",
    "parameters",
    "macs",
    "epochs",
    "steps",
    "versions",
    "git",
    "fingerprint",
    "genuine",
)
"""What of a run's result is kept beside its scores on the test set."""


def sweep_of(name: str) -> dict[str, Any]:
    """A sweep file."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "conf" / "sweep" / f"{name}.yaml").read_text())
    return content


def collect(name: str, runs: Path, device: str, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """The finished runs of a sweep and those that were finished earlier, in the order of its rows and seeds."""
    sweep = sweep_of(name)
    labels, rows = sweep["table"]["labels"], sweep["parameters"][sweep["table"]["rows"]]["values"]
    found = []
    for folder in sorted(file.parent for file in (runs / name).glob("*/sweep.json")):
        result, planned = read_json(folder / "result.json"), read_json(folder / "sweep.json") or {}
        if result is None or "test/score" not in result.get("scores", {}):
            print(f"{folder.name} has not finished: left out")
            continue
        if planned.get("departures") or result.get("partial"):
            print(f"{folder.name} departs from the sweep's file, or was tested in part: left out")
            continue
        kept = {key: result.get(key) for key in KEPT}
        scores = {key: value for key, value in result["scores"].items() if key.startswith("test/")}
        found.append({"label": labels[result["row"]], **kept, "run": folder.name, "scores": scores})
    order = [labels[row] for row in rows]
    new = {(run["label"], run["seed"]): run["run"] for run in found}
    if twice := [run for run in found if new[run["label"], run["seed"]] != run["run"]]:
        pairs = ", ".join(f"{run['run']} and {new[run['label'], run['seed']]}" for run in twice)
        raise SystemExit(f"{name}: these runs have the same row and seed: {pairs}. Move one of them away.")
    found += [run for run in earlier if run["label"] in order and (run["label"], run["seed"]) not in new]
    if len({run["fingerprint"] for run in found}) > 1:
        raise SystemExit(
            f"{name}: the runs were trained on different data: {sorted({r['fingerprint'] for r in found})}"
        )
    for label in order:
        if len(identities := {run["identity"] for run in found if run["label"] == label}) > 1:
            raise SystemExit(f"{name}: the runs of {label} have different recipes: identities {sorted(identities)}.")
    found.sort(key=lambda run: (order.index(run["label"]), run["seed"]))
    task = sweep["parameters"]["task"]["value"]
    recipe = f"conf/{task.removeprefix('../')}.yaml"
    return {"sweep": f"conf/sweep/{name}.yaml", "recipe": recipe, "device": device, "runs": found}


def table(evidence: dict[str, Any]) -> str:
    """The table in Markdown; of several rows the best mean of each score is bold."""
    scores = scores_of(sweep_of(Path(evidence["sweep"]).stem)["table"])
    labels = list(dict.fromkeys(run["label"] for run in evidence["runs"]))
    runs = {label: [run for run in evidence["runs"] if run["label"] == label] for label in labels}
    columns = [column(score, runs) for score in scores]
    lines = [
        f"| network | seeds | parameters | MACs | {' | '.join(score.label for score in scores)} |",
        "|---|---|---|---|" + "---|" * len(scores),
    ]
    for label in labels:
        first = runs[label][0]
        macs = f"{first['macs'] / 1e6:.0f} M" if first["macs"] else "-"
        costs = f"{first['parameters'] / 1e6:.2f} M | {macs}"
        cells = " | ".join(cells[label] for cells in columns)
        lines.append(f"| {label} | {len(runs[label])} | {costs} | {cells} |")
    return "\n".join(lines)


def column(score: Score, runs: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """The cells of a score, by the label of their row; of several the best mean is bold, as rounded."""
    values = {label: [run["scores"][score.metric] for run in of_label] for label, of_label in runs.items()}
    means = {label: round(statistics.mean(numbers), 1) for label, numbers in values.items()}
    best = (min if score.lower else max)(means.values())
    cells = {label: over_seeds(numbers, 1) for label, numbers in values.items()}
    if len(set(means.values())) == 1:
        return cells
    return {label: f"**{cell}**" if means[label] == best else cell for label, cell in cells.items()}


def main(arguments: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sweep", help="name of a file in conf/sweep")
    options.add_argument("--runs", type=Path, help="folder that `relattn sweep` wrote")
    options.add_argument("--device", default="2 CPU cores", help="what the runs were trained on")
    options.add_argument("--table", action="store_true", help="print the table of the JSON that is there")
    asked = options.parse_args(arguments)
    file = RESULTS / f"{asked.sweep}.json"
    if not asked.table:
        if asked.runs is None:
            options.error("--runs is missing: the folder that `relattn sweep` wrote")
        earlier = json.loads(file.read_text())["runs"] if file.is_file() else []
        file.write_text(json.dumps(collect(asked.sweep, asked.runs, asked.device, earlier), indent=1) + "\n")
    print(table(json.loads(file.read_text())))


if __name__ == "__main__":
    main()
