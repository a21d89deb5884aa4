"""What a sweep shows while it runs: a table on a terminal, a line for every change elsewhere."""

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from relattn.runs import run_folder
from relattn.runs.progress import Progress, progress
from relattn.sweeps.grid import Planned

COLOURS = {"finished": "green", "failed": "red", "running": "cyan", "interrupted": "yellow", "waiting": "dim"}


def duration(seconds: float | None) -> str:
    """A time for people: 45 s, 12 min, 3 h 05."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02}"


@dataclass
class Board:
    """The state of all runs of a sweep.

    Attributes:
        name: The sweep's name.
        plan: All its runs.
        place: The folder of their folders.
        console: Where it is shown.
        jobs: Runs at once.
    """

    name: str
    plan: list[Planned]
    place: Path
    console: Console
    jobs: int = 1
    runs: dict[str, Progress] = field(default_factory=dict)
    began: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When each run of this session was first seen running, and how far it was."""
    refreshed: float = 0.0
    live: Live | None = None

    def __post_init__(self) -> None:
        for planned in self.plan:
            self.runs[planned.name] = progress(self.place / planned.name)

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self.live = Live(self.table(), console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def watch(self, seen: dict[str, run_folder.State]) -> None:
        """Take in the states that the launcher reports; show what is new."""
        changed = {name: state for name, state in seen.items() if state != self.runs[name].state}
        due = time.monotonic() - self.refreshed > 1
        if not changed and not (due and self.live is not None):
            return
        self.refreshed = time.monotonic()
        for name, state in seen.items():
            if name in changed or state == "running":
                self.runs[name] = progress(self.place / name, state)
            if state == "running":
                self.began.setdefault(name, (time.monotonic(), self.runs[name].fraction))
        if self.live is not None:
            self.live.update(self.table())
        else:
            for name, state in changed.items():
                self.console.print(self.line(name, state), highlight=False, soft_wrap=True)

    def line(self, name: str, state: str) -> str:
        """One line about a run whose state has changed."""
        ended = sum(run.state in ("finished", "failed") for run in self.runs.values())
        score = self.runs[name].score
        shown = f"  score {score:.2f}" if score is not None else ""
        return f"[{COLOURS[state]}]{state:<11}[/] {name}{shown}  ({ended} of {len(self.plan)} runs have ended)"

    def left(self, name: str) -> float | None:
        """Seconds that a run still needs, from how it went in this session."""
        state = self.runs[name]
        if state.state != "running" or name not in self.began:
            return None
        since, fraction = self.began[name]
        done = state.fraction - fraction
        return (time.monotonic() - since) / done * (1 - state.fraction) if done > 0 else None

    def all_left(self) -> float | None:
        """Seconds that the sweep still needs, if every waiting run takes as long as those that ended."""
        results = [run_folder.read_json(self.place / name / "result.json") for name in self.runs]
        lasted = [result["seconds"] for result in results if result and "seconds" in result]
        waiting = sum(state.state in ("waiting", "interrupted") for state in self.runs.values())
        running = [self.left(name) for name, state in self.runs.items() if state.state == "running"]
        if (waiting and not lasted) or None in running:
            return None
        seconds = sum(left for left in running if left is not None)
        return (seconds + waiting * statistics.mean(lasted or [0.0])) / max(1, self.jobs)

    def table(self) -> Table:
        """All runs with their state."""
        states = [run.state for run in self.runs.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in COLOURS if state in states)
        left = duration(self.all_left())
        shown = Table(title=f"{self.name}: {counts}", caption=f"about {left} left" if left else None)
        shown.add_column("run", overflow="fold")
        shown.add_column("state")
        for column in ("epoch", "left", "score"):
            shown.add_column(column, justify="right")
        hidden = 0
        for name, state in self.runs.items():
            if self.live is not None and len(self.runs) > self.console.height - 8 and state.state == "waiting":
                hidden += 1
                continue
            epoch = f"{state.epoch}/{state.epochs}" if state.epochs else f"{state.fraction:.0%}"
            score = "" if state.score is None else f"{state.score:.2f}"
            status = f"[{COLOURS[state.state]}]{state.state}[/]"
            shown.add_row(name, status, epoch, duration(self.left(name)), score)
        if hidden:
            shown.add_row(f"... and {hidden} that wait", "", "", "", "", style="dim")
        return shown
