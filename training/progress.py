"""What a run shows while it goes: a bar with the rate and the time left, on standard error."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.processes import leads
from training.trainer import Tick

LINES = 10  # a stage, where there is no terminal


class ProgressBar:
    """A Watcher for people; where standard error is no terminal, a line now and then."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.console = Console(stderr=True)
        self._task: TaskID | None = None
        self._total, self._printed = 1, 0
        self._bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (self.console.is_terminal and leads()),
        )

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, stage: int, images: int, total: int) -> None:
        """A stage starts, or goes on."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        name = self.name if stage == 0 else f"{self.name}, stage {stage}"
        self._task = self._bar.add_task(name, total=total, completed=images, state="")
        self._total, self._printed = total, LINES * images // total

    def tick(self, tick: Tick, images_per_s: float) -> None:
        """Show the newest values."""
        values = tick.signals or tick.terms
        shown = "  ".join(f"{name} {value:.2f}" for name, value in list(values.items())[:3])
        state = f"{tick.images / 1000:,.0f} kimg  {images_per_s:,.0f} img/s  {shown}"
        assert self._task is not None  # begin() comes first
        self._bar.update(self._task, completed=tick.images, state=state)
        images = min(self._total, tick.images)
        if not self.console.is_terminal and LINES * images // self._total > self._printed:
            share, left_s = images / self._total, (self._total - images) / images_per_s
            print(f"{self.name} {share:4.0%}  {state}  {left_s:,.0f} s left", file=sys.stderr)
            self._printed = LINES * images // self._total
