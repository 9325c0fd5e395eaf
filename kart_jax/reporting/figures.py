"""Figures of runs and evaluations: learning curves, driven lines, drivers side by side."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kart_jax.run_folder.logged import LoggedRun

Floats = NDArray[np.float64]

CURVES = {
    "episode/progress_m": "progress (m)",
    "episode/finish_rate": "finish rate",
    "episode/return": "return",
}
ROUNDS = {
    "progress_m": "progress (m)",
    "finish_rate": "finish rate",
    "same": "actions like the teacher's",
}
PAUSE = 300.0
"""Seconds without an update after which a run counts as stopped and resumed."""
SCALES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths that a scale may have, in metres."""
POINTS = 400
"""Points that the runs of a group are averaged at."""
ROAD, SPEED = "0.88", "viridis"
EARLY = "ended early"
OWN, OTHER, END = "tab:orange", "tab:blue", "tab:red"


def draw_curves(runs: Sequence[LoggedRun]) -> Figure:
    """Draw learning curves over steps and over time.

    Runs that differ in their seed alone make one curve: the mean, in a band from the lowest
    to the highest.
    """
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
    return figure


def draw_learning(run: LoggedRun) -> Figure | None:
    """Draw how one run learnt: its rounds of imitation, then PPO over policy steps.

    Dots are the evaluations of the greedy policy. None of a run that has learnt nothing yet.
    """
    rows = [name for name, lines in (("imitation", run.rounds), ("PPO", run.metrics)) if lines]
    if not rows:
        return None
    figure = Figure(figsize=(12, 3 * len(rows)), layout="constrained")
    for row, axes_of_row in zip(rows, figure.subplots(len(rows), 3, squeeze=False), strict=True):
        draw = _draw_rounds if row == "imitation" else _draw_updates
        draw(list(axes_of_row), run)
        axes_of_row[0].set_title(row, loc="left", fontweight="bold")
    return figure


def _draw_rounds(panels: Sequence[Axes], run: LoggedRun) -> None:
    x = [line["round"] for line in run.rounds]
    for axes, (name, label) in zip(panels, ROUNDS.items(), strict=True):
        axes.plot(x, [line[name] for line in run.rounds], marker="o", ms=4, color=OTHER)
        axes.set(xlabel="round (the teacher drives the first)", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes, name)


def _draw_updates(panels: Sequence[Axes], run: LoggedRun) -> None:
    for axes, (name, label) in zip(panels, CURVES.items(), strict=True):
        _draw_group(axes, "training", [run], name, _steps)
        evaluation = name.replace("episode/", "eval/")
        dots = [(line["step"], line[evaluation]) for line in run.metrics if evaluation in line]
        if dots:
            x, y = np.array(dots, np.float64).T
            axes.scatter(x, y, s=18, c=OWN, label="evaluation", zorder=3)
        axes.set(xlabel="policy steps", ylabel=label)
        _finish(axes, name)
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False)


def _finish(axes: Axes, name: str) -> None:
    """Give the axes a grid, and rates their whole range."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if name.endswith(("rate", "same")):
        axes.set_ylim(-0.03, 1.03)


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
    axes: Axes,
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


def draw_lines(drivers: dict[str, dict[str, Any]], outline: list[list[float]]) -> Figure:
    """Draw the driven lines of some drivers over the road, side by side, coloured by speed.

    Args:
        drivers: an evaluation's statistics by the title of each panel.
        outline: the road's segments: x and z of both ends and the width, in metres.
    """
    figure = Figure(figsize=_size_of_panels(outline, len(drivers)), layout="constrained")
    panels = figure.subplots(1, len(drivers), squeeze=False, sharex=True, sharey=True)[0]
    paths = {title: _paths(statistics) for title, statistics in drivers.items()}
    fastest = max((path[:, 2].max() for driven in paths.values() for path in driven), default=1.0)
    lines = None
    for axes, (title, statistics) in zip(panels, drivers.items(), strict=True):
        _draw_road(axes, outline)
        for path in paths[title]:
            lines = _draw_path(axes, path, fastest)
        _draw_ends(axes, statistics["episodes"])
        axes.autoscale()
        axes.set(aspect="equal", title=title)
        axes.set_axis_off()
    _draw_scale(panels[0])
    marks = [axes.get_legend_handles_labels() for axes in panels]
    legend = {label: mark for pair in marks for mark, label in zip(*pair, strict=True)}
    if EARLY in legend:
        figure.legend(
            legend.values(), legend.keys(), loc="outside lower center", ncols=2, frameon=False
        )
    if lines is not None:
        figure.colorbar(lines, ax=list(panels), label="speed (m/s)", shrink=0.8, aspect=30)
    return figure


def _draw_scale(axes: Axes) -> None:
    """Draw a bar with its length, about a quarter of the width, below the road."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    quarter = (right - left) / 4
    length = max((step for step in SCALES if step <= quarter), default=quarter)
    y = low - 0.03 * (high - low)
    axes.plot([left, left + length], [y, y], color="0.3", lw=2, solid_capstyle="butt")
    axes.text(left, y, f"{length:g} m ", ha="left", va="bottom", color="0.3")


def _size_of_panels(outline: list[list[float]], count: int) -> tuple[float, float]:
    """Return a figure's size in inches that leaves little empty beside roads of this shape."""
    ends = np.array([[*segment[:2], *segment[2:4]] for segment in outline]).reshape(-1, 2)
    width, height = np.ptp(ends, axis=0) if len(ends) else (1.0, 1.0)
    total = 12.0 if count > 1 else 9.0
    panel = (total - 1.5) / count
    return total, float(np.clip(panel * height / max(width, 1.0), 3.0, 8.0)) + 0.9


def _paths(statistics: dict[str, Any]) -> list[Floats]:
    return [np.array(e["path"]) for e in statistics["episodes"] if len(e["path"]) > 1]


def _draw_road(axes: Axes, outline: list[list[float]]) -> None:
    axes.add_collection(PolyCollection(_road(outline), facecolor=ROAD))
    joints = [Circle((x, z), width / 2) for x, z, _, _, width in outline]
    axes.add_collection(PatchCollection(joints, facecolor=ROAD))


def _draw_path(axes: Axes, path: Floats, fastest: float) -> LineCollection:
    segments = np.stack([path[:-1, :2], path[1:, :2]], axis=1)
    lines = LineCollection(list(segments), cmap=SPEED, lw=1.6, capstyle="round")
    lines.set(array=path[1:, 2], clim=(0, fastest))
    axes.add_collection(lines)
    return lines


def _draw_ends(axes: Axes, episodes: Sequence[dict[str, Any]]) -> None:
    """Mark where the episodes end."""
    marks = {True: ("o", "finished"), False: ("x", EARLY)}
    for finished, (marker, label) in marks.items():
        driven = [e["path"] for e in episodes if e["finished"] is finished and e["path"]]
        if driven:
            x, z, _ = np.array([path[-1] for path in driven]).T
            axes.scatter(x, z, s=18, marker=marker, c=END, label=label, zorder=3)


def _road(outline: list[list[float]]) -> list[Floats]:
    """The four corners of each of the road's segments."""
    corners = []
    for x0, z0, x1, z1, width in outline:
        along = np.array([x1 - x0, z1 - z0])
        across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9) * width / 2
        start, end = np.array([x0, z0]), np.array([x1, z1])
        corners.append(np.array([start - across, start + across, end + across, end - across]))
    return corners


def draw_drivers(drivers: dict[str, Any]) -> Figure:
    """Draw bars with intervals, the policy's first; who never finished has no lap time."""
    quantities = {
        "finish rate": ("finish_rate", "finish_rate_interval"),
        "lap time (s)": ("lap_time_mean", "lap_time_interval"),
        "progress (m)": ("progress_mean", "progress_interval"),
    }
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(drivers)), layout="constrained")
    panels = figure.subplots(1, len(quantities), sharey=True)
    for axes, (label, (name, interval)) in zip(panels, quantities.items(), strict=True):
        for place, statistics in enumerate(drivers.values()):
            value = statistics[name]
            if value is None:
                continue
            low, high = statistics[interval] or (value, value)
            error = np.maximum([[value - low], [high - value]], 0)
            axes.barh(place, value, xerr=error, color=OWN if place == 0 else OTHER)
        axes.set(yticks=range(len(drivers)), yticklabels=list(drivers), xlabel=label)
        axes.set_ylim(len(drivers) - 0.5, -0.5)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
