"""Progress of a run on the screen: a live view in a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from kart_jax.config import RunConfig
from kart_jax.training.metrics import Stopwatch

LINE_SECONDS = 15.0
"""Time between two plain lines."""

FORMATS = {
    "episode/return": "return {:.2f}",
    "episode/progress_m": "{:.0f} m",
    "episode/finish_rate": "finished {:.0%}",
    "ppo/policy_loss": "policy loss {:+.3f}",
    "ppo/value_loss": "value loss {:.3f}",
    "ppo/entropy": "entropy {:.2f}",
    "workers/losses": "workers lost {:.0f}",
}
"""How each metric is printed."""


class Console:
    """Shows progress; use as a context manager around the run."""

    def __init__(self, run: RunConfig, start: int, quiet: bool = False) -> None:
        """Prepare to show a run from policy step `start` on; nothing if `quiet`, or if it is."""
        self._run = run
        self._start_step = start
        self._started = self._last_line = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque([(self._started, start)], maxlen=20)
        self._quiet = quiet or run.quiet
        self._live = not self._quiet and sys.stdout.isatty()
        self._progress = Progress(
            BarColumn(bar_width=40),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
        )
        # On lines of their own, since a narrow terminal would cut the time left.
        self._metrics = Text("collecting the first rollout")
        console = RichConsole(file=sys.stdout)
        self._view = Live(Group(self._progress, self._metrics), console=console)
        total = run.total_steps if run.minutes is None else 60 * run.minutes
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        """Start the live view."""
        if self._live:
            self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        with suppress(OSError):  # the terminal is gone
            self._view.stop()

    def rate(self, step: int) -> float:
        """Return policy steps per second over the last updates."""
        now = time.monotonic()
        self._marks.append((now, step))
        then, before = self._marks[0]
        return (step - before) / max(now - then, 1e-9)

    def show_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Print the means of an evaluation on lines that stay."""
        self._print(
            f"evaluated at {step:,} steps: {metrics['eval/finish_rate']:.0%} finished, "
            f"{metrics['eval/progress_m']:.0f} m, return {metrics['eval/return']:.2f}"
        )

    def show(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the newest metrics."""
        parts = [f"{step:,} steps", f"{metrics['time/steps_per_second']:.0f}/s"]
        parts += [text.format(metrics[name]) for name, text in FORMATS.items() if name in metrics]
        line = " · ".join(parts)
        now = time.monotonic()
        if self._live:
            done = step if self._run.minutes is None else now - self._started
            self._progress.update(self._task, completed=done)
            self._metrics.plain = line
        elif now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self._print(f"{now - self._started:6.0f} s · {line}")

    def show_end(self, finished: bool, step: int, reached: bool, stopwatch: Stopwatch) -> None:
        """Print the time of each stage, after the run has ended.

        Args:
            finished: no stop was requested.
            step: policy steps taken.
            reached: the target was reached.
            stopwatch: the time of each stage.
        """
        if finished and step == 0 and not reached:
            self._print("\nNo PPO: the time, or the steps, were up before its first update.")
        self._print(f"\nWhere the time went:\n{stopwatch.table()}")

    def _print(self, line: str) -> None:
        """Print a line that stays in view.

        A closed pipe (Ctrl-C ends `| tee` too), a lost terminal and a full disk do not stop the
        run.
        """
        try:
            if self._live:
                self._view.console.print(line)
            elif not self._quiet:
                print(line, flush=True)
        except OSError:
            self._live, self._quiet = False, True
