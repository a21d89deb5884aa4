"""The display of a running sweep: a table on a terminal, otherwise a line for every change."""

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from relattn.runs import run_folder
from relattn.runs.progress import Progress, progress
from relattn.sweeps.plan import Planned

COLOURS = {"finished": "green", "failed": "red", "running": "cyan", "interrupted": "yellow", "waiting": "dim"}


def duration(seconds: float | None) -> str:
    """A duration in readable form: 45 s, 12 min, 3 h 05."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02}"


@dataclass
class Board:
    """The state of all runs of one or more sweeps.

    Attributes:
        name: The name of the sweep, or of all sweeps.
        plan: All runs.
        console: The console to print to.
        jobs: Number of runs at once.
    """

    name: str
    plan: list[Planned]
    console: Console
    jobs: int = 1
    runs: dict[Path, Progress] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    began: dict[Path, tuple[float, float]] = field(default_factory=dict)
    """When each run was first seen running in this session, and its progress at that time."""
    refreshed: float = 0.0
    live: Live | None = None

    def __post_init__(self) -> None:
        for planned in self.plan:
            self.runs[planned.folder] = progress(planned.folder, planned.state)
            self.names[planned.folder] = planned.name

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self.live = Live(self.table(), console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def watch(self, seen: dict[Path, run_folder.State]) -> None:
        """Process the states that the launcher reports, and show changes."""
        changed = {folder: state for folder, state in seen.items() if state != self.runs[folder].state}
        due = time.monotonic() - self.refreshed > 1
        if not changed and not (due and self.live is not None):
            return
        self.refreshed = time.monotonic()
        for folder, state in seen.items():
            if folder in changed or state == "running":
                self.runs[folder] = progress(folder, state)
            if state == "running":
                self.began.setdefault(folder, (time.monotonic(), self.runs[folder].fraction))
        if self.live is not None:
            self.live.update(self.table())
        else:
            for folder, state in changed.items():
                self.console.print(self.line(folder, state), highlight=False, soft_wrap=True)

    def line(self, folder: Path, state: str) -> str:
        """One line about a run whose state has changed."""
        ended = sum(run.state in ("finished", "failed") for run in self.runs.values())
        score = self.runs[folder].score
        shown = f"  score {score:.2f}" if score is not None else ""
        so_far = f"{ended} of {len(self.plan)} runs have ended"
        return f"[{COLOURS[state]}]{state:<11}[/] {self.names[folder]}{shown}  ({so_far})"

    def left(self, folder: Path) -> float | None:
        """Estimated seconds that a run still needs, from its progress since it was started."""
        run = self.runs[folder]
        if run.state != "running" or folder not in self.began:
            return None
        since, fraction = self.began[folder]
        done = run.fraction - fraction
        return (time.monotonic() - since) / done * (1 - run.fraction) if done > 0 else None

    def all_left(self) -> float | None:
        """Estimated seconds that the sweep still needs, if every waiting run takes as long as those that ended."""
        results = [run_folder.read_json(folder / "result.json") for folder in self.runs]
        lasted = [result["seconds"] for result in results if result and "seconds" in result]
        waiting = sum(run.state in ("waiting", "interrupted") for run in self.runs.values())
        running = [self.left(folder) for folder, run in self.runs.items() if run.state == "running"]
        if (waiting and not lasted) or None in running:
            return None
        seconds = sum(left for left in running if left is not None)
        together = max(1, min(self.jobs, len(running) + waiting))
        longest = max((left for left in running if left is not None), default=0.0)
        return max(longest, (seconds + waiting * statistics.mean(lasted or [0.0])) / together)

    def table(self) -> Table:
        """A table of all runs with their states."""
        states = [run.state for run in self.runs.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in COLOURS if state in states)
        left = duration(self.all_left())
        shown = Table(title=f"{escape(self.name)}: {counts}", caption=f"about {left} left" if left else None)
        shown.add_column("run", overflow="fold")
        shown.add_column("state")
        for column in ("epoch", "left", "score"):
            shown.add_column(column, justify="right")
        hidden = 0
        for folder, run in self.runs.items():
            if self.live is not None and len(self.runs) > self.console.height - 8 and run.state == "waiting":
                hidden += 1
                continue
            epoch = f"{run.epoch}/{run.epochs}" if run.epochs else f"{run.fraction:.0%}" if run.fraction else ""
            score = "" if run.score is None else f"{run.score:.2f}"
            state = f"[{COLOURS[run.state]}]{run.state}[/]"
            shown.add_row(self.names[folder], state, epoch, duration(self.left(folder)), score)
        if hidden:
            shown.add_row(f"... and {hidden} that wait", "", "", "", "", style="dim")
        return shown
