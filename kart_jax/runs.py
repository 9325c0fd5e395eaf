"""`python -m kart_jax.runs`: list runs with their best metrics."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kart_jax.cli.command import command
from kart_jax.config import TrainConfig, load
from kart_jax.files import expand_paths
from kart_jax.run_folder.checkpoints import read_best
from kart_jax.validation import UserError


@dataclass(frozen=True)
class RunsConfig:
    """Where to look."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """The folder that holds the runs' folders."""

    def __post_init__(self) -> None:
        """Expand `~` in paths."""
        expand_paths(self)


@dataclass(frozen=True)
class LoggedRun:
    """A run's configuration and metrics, read from its folder."""

    folder: Path
    config: TrainConfig
    metrics: list[dict[str, Any]]
    """One dictionary for each line of `metrics.jsonl`, in the order of steps."""

    @property
    def step(self) -> int:
        """Policy steps taken."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    def best(self, name: str) -> float | None:
        """Return the highest value of a metric, None where it was never logged."""
        values = [line[name] for line in self.metrics if line.get(name) is not None]
        return max(values, default=None)


def read_run(folder: Path) -> LoggedRun:
    """Read a run's configuration and metrics.

    Raises:
        ValueError: it is no run's folder, or one of another version.
    """
    config = load(folder / "config.json")
    try:
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    metrics = []
    for line in text.splitlines():
        try:
            metrics.append(json.loads(line))
        except json.JSONDecodeError:  # the line that is being written
            continue
    return LoggedRun(folder, config, metrics)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the runs, the newest last."""
    config = tyro.cli(RunsConfig, args=arguments, prog="python -m kart_jax.runs")
    folders = [path.parent for path in config.folder.glob("*/config.json")]
    if not folders:
        raise UserError(f"{config.folder} holds no runs: name the folder that holds their folders")
    # To fit 80 columns without cutting a run's name, which other commands take.
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("written", no_wrap=True)
    table.add_column("track", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("training", no_wrap=True)
    table.add_column("best evaluation")
    table.caption = "training, evaluation: share of finished races, metres or seconds"
    for folder in sorted(folders, key=_last_written):
        try:
            table.add_row(*_row(read_run(folder)))
        except ValueError as error:
            print(f"warning: {folder} is left out: {error}", file=sys.stderr)
    Console().print(table)
    return 0


def _last_written(folder: Path) -> float:
    files = [folder / "metrics.jsonl", folder / "config.json"]
    return max(file.stat().st_mtime for file in files if file.exists())


def _row(run: LoggedRun) -> list[str]:
    written = time.strftime("%m-%d %H:%M", time.localtime(_last_written(run.folder)))
    progress, finished = run.best("episode/progress_m"), run.best("episode/finish_rate")
    known = progress is not None and finished is not None
    return [
        run.folder.name,
        written,
        "\n".join(run.config.race.track),
        f"{run.step:,}",
        f"{finished:.0%}, {progress:.0f} m" if known else "-",
        _evaluation(read_best(run.folder / "checkpoints")),
    ]


def _evaluation(best: dict[str, Any] | None) -> str:
    if best is None:
        return "-"
    metrics = best["metrics"]
    seconds, metres = metrics.get("eval/finish_time"), metrics["eval/progress_m"]
    reached = f"{metres:.0f} m" if seconds is None else f"{seconds:.1f} s"
    return f"{metrics['eval/finish_rate']:.0%}, {reached} at {best['step']:,}"


if __name__ == "__main__":
    sys.exit(main())
