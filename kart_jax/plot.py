"""`python -m kart_jax.plot`: draw learning curves of runs, and the driven lines of evaluations."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from kart_jax.cli.command import command
from kart_jax.files import expand_paths
from kart_jax.runs import LoggedRun, read_run
from kart_jax.validation import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

CURVES = {
    "episode/progress_m": "progress (m)",
    "episode/finish_rate": "finish rate",
    "episode/return": "return",
}
PAUSE = 300.0
"""Seconds without an update after which a run counts as stopped and resumed."""
POINTS = 400
"""Points that the runs of a group are averaged at."""
ROAD, SPEED = "0.85", "viridis"


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
    config = tyro.cli(PlotConfig, args=arguments, prog="python -m kart_jax.plot")
    if not config.sources:
        raise UserError("nothing to plot: name runs' folders or evaluations' files")
    check_plots()
    for path in config.sources:
        if not path.exists():
            raise UserError(f"{path} does not exist: name runs' folders or evaluations' files")
    files = [path for path in config.sources if path.is_file()]
    reports = {path.stem: read_report(path) for path in files}
    runs = [read_run(path) for path in config.sources if path not in files]
    config.out.mkdir(parents=True, exist_ok=True)
    written = [plot_curves(runs, config.out / "learning_curves.png")] if runs else []
    for name, report in reports.items():
        written += plot_report(report, config.out, name)
    for path in written:
        print(path)
    return 0


def check_plots() -> None:
    """Refuse to continue without matplotlib.

    Raises:
        ValueError: says what to do.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError('plots need matplotlib: pip install "kart_jax[viz]"') from None


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


def plot_curves(runs: Sequence[LoggedRun], path: Path) -> Path:
    """Plot learning curves over steps and over time.

    Runs that differ in their seed alone make one curve: the mean, in a band from the lowest
    to the highest.
    """
    from matplotlib.figure import Figure

    axes_of_time: dict[str, Callable[[LoggedRun], Floats]] = {
        "policy steps": _steps,
        "minutes of training": _minutes,
    }
    figure = Figure(figsize=(11, 9), layout="constrained")
    grid = figure.subplots(len(CURVES), len(axes_of_time), squeeze=False)
    for row, (name, label) in enumerate(CURVES.items()):
        for column, (x_label, x_of) in enumerate(axes_of_time.items()):
            axes: Axes = grid[row, column]
            for title, group in group_by_seed(runs).items():
                _draw_group(axes, title, group, name, x_of)
            axes.set(xlabel=x_label, ylabel=label)
            axes.grid(alpha=0.3)
    if grid[0, 0].lines:
        grid[0, 0].legend()
    figure.savefig(path, dpi=120)
    return path


def group_by_seed(runs: Sequence[LoggedRun]) -> dict[str, list[LoggedRun]]:
    """Group runs that differ only in seed and folder, by the first one's name."""
    groups: dict[str, list[LoggedRun]] = {}
    for run in runs:
        values = run.config.to_dict()
        values["run"] |= {"seed": 0, "run_dir": None, "resume": False}
        groups.setdefault(json.dumps(values, sort_keys=True), []).append(run)
    return {
        group[0].folder.name
        + (f" and {len(group) - 1} more seeds" if len(group) > 1 else ""): group
        for group in groups.values()
    }


def _draw_group(
    axes: "Axes",
    title: str,
    group: Sequence[LoggedRun],
    name: str,
    x_of: Callable[[LoggedRun], Floats],
) -> None:
    curves = []
    for run in group:
        y = np.array([line.get(name, np.nan) for line in run.metrics], np.float64)
        known = np.isfinite(y)
        if known.any():
            curves.append((x_of(run)[known], y[known]))
    if not curves:
        return
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(low, max(high, low), POINTS)
    values = np.array([np.interp(grid, x, y) for x, y in curves])
    [line] = axes.plot(grid, values.mean(axis=0), label=title)
    if len(curves) > 1:
        axes.fill_between(
            grid, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2, lw=0
        )


def _steps(run: LoggedRun) -> Floats:
    return np.array([line["step"] for line in run.metrics], np.float64)


def _minutes(run: LoggedRun) -> Floats:
    """Since the first update, without the time between a stop and a resume."""
    between = np.diff([line["wall_time"] for line in run.metrics], prepend=np.nan)
    between[~(between < PAUSE)] = 0.0
    return np.cumsum(between) / 60


def plot_report(report: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Plot each track's driven lines, and its drivers side by side; return the files."""
    from matplotlib.figure import Figure

    written = []
    for track, statistics in report["tracks"].items():
        figure = Figure(figsize=(10, 8), layout="constrained")
        _draw_lines(figure.subplots(), statistics)
        written.append(folder / f"{name}_{track}_lines.png")
        figure.suptitle(f"{track}: {statistics['count']} episodes of the policy")
        figure.savefig(written[-1], dpi=120)
        figure = Figure(figsize=(10, 3.5), layout="constrained")
        _draw_drivers(
            list(figure.subplots(1, 3)), {"policy": statistics, **statistics["baselines"]}
        )
        written.append(folder / f"{name}_{track}_drivers.png")
        figure.suptitle(f"{track}, with 95% confidence intervals")
        figure.savefig(written[-1], dpi=120)
    return written


def _draw_lines(axes: "Axes", statistics: dict[str, Any]) -> None:
    """The paths over the road, coloured by speed, and where they end."""
    from matplotlib.collections import LineCollection, PatchCollection, PolyCollection
    from matplotlib.patches import Circle

    axes.add_collection(PolyCollection(_road(statistics["outline"]), facecolor=ROAD))
    joints = [Circle((x, z), width / 2) for x, z, _, _, width in statistics["outline"]]
    axes.add_collection(PatchCollection(joints, facecolor=ROAD))
    paths = [np.array(e["path"]) for e in statistics["episodes"] if len(e["path"]) > 1]
    ends = {True: ("o", "finished"), False: ("x", "ended early")}
    fastest = max((path[:, 2].max() for path in paths), default=1.0)
    for path in paths:
        segments = np.stack([path[:-1, :2], path[1:, :2]], axis=1)
        lines = LineCollection(list(segments), cmap=SPEED, lw=1)
        lines.set(array=path[1:, 2], clim=(0, fastest))
        axes.add_collection(lines)
    for finished, (marker, label) in ends.items():
        driven = [
            e["path"] for e in statistics["episodes"] if e["finished"] is finished and e["path"]
        ]
        if driven:
            x, z, _ = np.array([path[-1] for path in driven]).T
            axes.scatter(x, z, marker=marker, c="tab:red", label=label, zorder=3)
    if paths:
        axes.get_figure().colorbar(lines, ax=axes, label="speed (m/s)", shrink=0.6)  # type: ignore[union-attr]
        axes.legend()
    axes.autoscale()
    axes.set(aspect="equal", xlabel="x (m)", ylabel="z (m)")


def _road(outline: list[list[float]]) -> list[Floats]:
    """The four corners of each of the road's segments."""
    corners = []
    for x0, z0, x1, z1, width in outline:
        along = np.array([x1 - x0, z1 - z0])
        across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9) * width / 2
        start, end = np.array([x0, z0]), np.array([x1, z1])
        corners.append(np.array([start - across, start + across, end + across, end - across]))
    return corners


def _draw_drivers(panels: "Sequence[Axes]", drivers: dict[str, Any]) -> None:
    """Bars with intervals; a driver that never finished has no lap time."""
    quantities = {
        "finish rate": ("finish_rate", "finish_rate_interval"),
        "lap time (s)": ("lap_time_mean", "lap_time_interval"),
        "progress (m)": ("progress_mean", "progress_interval"),
    }
    for axes, (label, (name, interval)) in zip(panels, quantities.items(), strict=True):
        for place, statistics in enumerate(drivers.values()):
            value = statistics[name]
            if value is None:
                continue
            low, high = statistics[interval] or (value, value)
            colour = "tab:orange" if place == 0 else "tab:blue"
            error = np.maximum([[value - low], [high - value]], 0)
            axes.barh(place, value, xerr=error, color=colour)
        axes.set(yticks=range(len(drivers)), yticklabels=list(drivers), xlabel=label)
        axes.set_ylim(len(drivers) - 0.5, -0.5)


if __name__ == "__main__":
    sys.exit(main())
