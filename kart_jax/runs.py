"""`python -m kart_jax.runs`: list runs with their best metrics."""

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

from kart_jax.cli.command import command, program
from kart_jax.files import expand_paths
from kart_jax.run_folder.checkpoints import read_best
from kart_jax.run_folder.logged import LoggedRun, read_run
from kart_jax.validation import UserError


@dataclass(frozen=True)
class RunsConfig:
    """Where to look."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """The folder that holds the runs' folders."""

    def __post_init__(self) -> None:
        """Expand `~` in paths."""
        expand_paths(self)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the runs, the newest last."""
    config = tyro.cli(RunsConfig, args=arguments, prog=program("runs"))
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
