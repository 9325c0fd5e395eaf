"""`python -m kart_jax.plot`: draw learning curves of runs, and the driven lines of evaluations."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from kart_jax.cli.command import command, program
from kart_jax.files import expand_paths
from kart_jax.run_folder.logged import read_run
from kart_jax.validation import UserError

DOTS_PER_INCH = 120


@dataclass(frozen=True)
class PlotConfig:
    """What to plot."""

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs' folders, and files that `kart_jax.evaluate --json` wrote."""
    out: Path = Path("plots")
    """The folder for the PNG files."""

    def __post_init__(self) -> None:
        """Expand `~` in paths."""
        expand_paths(self)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Plot as the command line says."""
    config = tyro.cli(PlotConfig, args=arguments, prog=program("plot"))
    if not config.sources:
        raise UserError("nothing to plot: name runs' folders or evaluations' files")
    for path in config.sources:
        if not path.exists():
            raise UserError(f"{path} does not exist: name runs' folders or evaluations' files")
    files = [path for path in config.sources if path.is_file()]
    reports = {path.stem: read_report(path) for path in files}
    runs = [read_run(path) for path in config.sources if path not in files]
    config.out.mkdir(parents=True, exist_ok=True)
    from kart_jax.reporting.figures import draw_curves

    written = []
    if runs:
        written.append(config.out / "learning_curves.png")
        draw_curves(runs).savefig(written[0], dpi=DOTS_PER_INCH)
    for name, report in reports.items():
        written += plot_report(report, config.out, name)
    for path in written:
        print(path)
    return 0


def read_report(path: Path) -> dict[str, Any]:
    """Read what `kart_jax.evaluate --json` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for track in report["tracks"].values():
            track["episodes"], track["baselines"], track["outline"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} was not written by kart_jax.evaluate --json") from None
    return report


def plot_report(report: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Plot each track's driven lines beside others, and its drivers' results; return the files."""
    from kart_jax.reporting.figures import draw_drivers, draw_lines

    written = []
    for track, statistics in report["tracks"].items():
        figures = {
            "lines": draw_lines(_beside(statistics), statistics["outline"]),
            "drivers": draw_drivers({"policy": statistics, **statistics["baselines"]}),
        }
        figures["drivers"].suptitle(f"{track}, with 95% confidence intervals")
        for kind, figure in figures.items():
            written.append(folder / f"{name}_{track}_{kind}.png")
            figure.savefig(written[-1], dpi=DOTS_PER_INCH)
    return written


def _beside(statistics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the policy, the game's AI at its difficulty and the human record, by their titles."""
    difficulty = statistics["episodes"][0].get("difficulty")
    drivers = {f"the policy, {statistics['count']} episodes": statistics}
    for name, other in statistics["baselines"].items():
        if name == f"ai {difficulty}":
            drivers[f"the game's AI, difficulty {difficulty}"] = other
        elif name.startswith("human record"):
            drivers["the human record, difficulty 3"] = other
    return {
        f"{title}, {one['lap_time_mean']:.1f} s" if one["lap_time_mean"] else title: one
        for title, one in drivers.items()
    }


if __name__ == "__main__":
    sys.exit(main())
