"""Run all benchmarks one after the other, and collect their claims in one table, as `make bench` does.

    python benchmarks/run_all.py
    python benchmarks/run_all.py --only rga stra --out measured
    python benchmarks/run_all.py --quick                    # only check that all of them work, in two minutes

A script that fails does not stop the others; the failure is reported at the end and in the exit status. Scripts stopped
or left out because time has run out are reported as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
SCRIPTS = (
    "rga",
    "stra",
    "attention_steps",
    "retrieval",
    "verification",
    "cifar_loop",
    "lightning_overhead",
    "data_pipelines",
    "generated_data",
    "start_up",
    "allocator",
    "segmentation_memory",
)
"""All scripts, in the order in which they run."""


def run(script: str, file: Path, asked: argparse.Namespace, left: float) -> str:
    """Run a script; return what went wrong, or an empty string."""
    command = [sys.executable, str(HERE / f"{script}.py"), "--out", str(file), *(["--quick"] if asked.quick else [])]
    try:
        status = subprocess.run(command, check=False, timeout=left).returncode
    except subprocess.TimeoutExpired:
        return f"stopped: the {asked.minutes:g} minutes are over"
    return f"failed with status {status}" if status else ""


def summary(console: Console, outcomes: dict[str, str], files: dict[str, Path], spent: dict[str, float]) -> None:
    """Print every claim with its ratio and the machine it was measured on."""
    table = Table(title="benchmarks")
    for column in ("benchmark", "claim", "ratio", "differ by", "where"):
        table.add_column(column, justify="right" if column == "ratio" else "left")
    for script, outcome in outcomes.items():
        table.add_section()
        name = f"{script}, {spent[script]:.0f} s" if script in spent else script
        if outcome:
            table.add_row(name, f"[red]{outcome}[/red]", "", "", "")
            continue
        content = json.loads(files[script].read_text())
        for claim in content["claims"]:
            differ = "" if claim["difference"] is None else f"{claim['difference']:.1g}"
            table.add_row(name, claim["claim"], claim["reading"], differ, content["machine"]["device"])
            name = ""
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, metavar="SCRIPT", help="run only these")
    options.add_argument("--minutes", type=float, default=60, help="for all together (60)")
    options.add_argument("--out", type=Path, help="folder of the JSON files, by default benchmarks/results")
    options.add_argument("--quick", action="store_true", help="sizes that show that they work; nothing else is learned")
    asked = options.parse_args(arguments)
    console = Console(width=None if Console().is_terminal else 140)
    start, outcomes, spent = time.monotonic(), {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.out or (Path(temporary) if asked.quick else HERE / "results")
        files = {script: folder / f"{script}.json" for script in asked.only}
        for script in asked.only:
            left = 60 * asked.minutes - (time.monotonic() - start)
            if left <= 0:
                outcomes[script] = f"not run: the {asked.minutes:g} minutes are over"
                continue
            began = time.monotonic()
            outcomes[script] = run(script, files[script], asked, left)
            spent[script] = time.monotonic() - began
        summary(console, outcomes, files, spent)
    wrong = [script for script, outcome in outcomes.items() if outcome]
    minutes = (time.monotonic() - start) / 60
    console.print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} benchmarks in {minutes:.1f} minutes")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
