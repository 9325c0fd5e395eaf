"""Learning curves: what a run logged over minutes and steps, when it got where, and a plot."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.runs import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MILESTONES = {
    "200 m": ("progress_m", 200.0),
    "400 m": ("progress_m", 400.0),
    "first lap": ("finish_rate", 1e-6),
    "90% of laps": ("finish_rate", 0.9),
}
"""What to reach, by which of a curve's lists, from which value on."""
GREEDY = "90% of greedy laps"
COLOURS = {"kart_jax": "tab:blue", "kart_jax, PPO alone": "tab:green", "sb3": "tab:orange"}

Curve = dict[str, Any]
"""A run: `system`, `seed`, and lists over rounds of imitation and updates of `minutes`, `steps`,
`progress_m`, `finish_rate` and `finish_time`, the latter three means over the round or the last 100
episodes, of those that began on the grid. `greedy` has a dictionary for each checkpoint that was
raced: `minutes`, `steps`, `finish_rate` and `finish_time`."""


def curve_of(system: str, seed: int, lines: Sequence[Line], start: float, minutes: float) -> Curve:
    """The curve of a run that began at `start`, as far as it was made in so many minutes."""
    lines = [
        line
        for line in lines
        if _whole(line, "progress_m") is not None and line["wall_time"] <= start + 60 * minutes
    ]
    return {
        "system": system,
        "seed": seed,
        "minutes": [(line["wall_time"] - start) / 60 for line in lines],
        "steps": [line["step"] for line in lines],
        "progress_m": [_whole(line, "progress_m") for line in lines],
        "finish_rate": [_whole(line, "finish_rate") for line in lines],
        "finish_time": [_whole(line, "finish_time") for line in lines],
        "greedy": [],
    }


def _whole(line: Line, name: str) -> float | None:
    """A mean over whole races; rounds of imitation, which log no return, do not set them apart."""
    kind = "grid" if "episode/return" in line else "episode"
    value: float | None = line.get(f"{kind}/{name}")
    return value


def ends(curve: Curve) -> dict[str, Any]:
    """A row of where a run ended."""
    lists = {name: value for name, value in curve.items() if isinstance(value, list)}
    last = {name: (value or [None])[-1] for name, value in lists.items() if name != "greedy"}
    greedy = (curve["greedy"] or [{}])[-1]
    raced = {f"greedy {name}": greedy[name] for name in ("finish_rate", "finish_time") if greedy}
    return {"system": curve["system"], "seed": curve["seed"]} | last | raced


def milestones(curve: Curve, over: str = "minutes", beat: float | None = None) -> dict[str, Any]:
    """A row of the minutes, or steps, to each milestone, None if the run did not get there.

    With `beat`, the last one is a mean lap below that many seconds, with most laps finished.
    """
    row = {"system": curve["system"], "seed": curve["seed"]}
    for milestone, (name, least) in MILESTONES.items():
        row[milestone] = _first(curve[over], [value >= least for value in curve[name]])
    if greedy := curve["greedy"]:
        most = [race["finish_rate"] >= 0.9 for race in greedy]
        row[GREEDY] = _first([race[over] for race in greedy], most)
    if beat is not None:
        laps = zip(curve["finish_time"], curve["finish_rate"], strict=True)
        fast = [time is not None and time < beat and rate > 0.5 for time, rate in laps]
        row[f"laps below {beat:g} s"] = _first(curve[over], fast)
    return row


def _first(where: Sequence[float], reached: Sequence[bool]) -> float | None:
    """The minute, or step, at which something was first reached."""
    return next((one for one, true in zip(where, reached, strict=True) if true), None)


def medians(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each system: medians over its seeds; a run that did not get there is the last."""
    found = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        names = [name for name in own[0] if name not in ("system", "seed")]
        values = {n: statistics.median(_or_never(row.get(n)) for row in own) for n in names}
        reached = {name: value if value < np.inf else None for name, value in values.items()}
        found.append({"system": system, "seed": f"median of {len(own)}", **reached})
    return found


def _or_never(value: float | None) -> float:
    return np.inf if value is None else value


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw metres and finish rate over time and over steps to a file."""
    draw(curves).savefig(path, dpi=120)


def draw(curves: Sequence[Curve]) -> "Figure":
    """Draw medians, and bands over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6))
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, y in zip(axes, ("progress_m", "finish_rate"), strict=True):
        for axis, x in zip(row, ("minutes", "steps"), strict=True):
            for system in dict.fromkeys(curve["system"] for curve in curves):
                own = [curve for curve in curves if curve["system"] == system and curve["steps"]]
                if own:
                    _band(axis, own, x, y)
            axis.set(xlabel=x, ylabel={"progress_m": "metres", "finish_rate": "finished"}[y])
            axis.label_outer()
    axes[0, 0].legend()
    figure.tight_layout()
    return figure


def _band(axis: Any, curves: Sequence[Curve], x: str, y: str) -> None:
    """One system: as far as all its seeds came; dots are checkpoints, raced greedily."""
    system = curves[0]["system"]
    colour = COLOURS[system]
    end = min(curve[x][-1] for curve in curves)
    where = np.linspace(min(curve[x][0] for curve in curves), end, 200)
    values = np.array([np.interp(where, curve[x], curve[y]) for curve in curves])
    seeds = ", ".join(str(curve["seed"]) for curve in curves)
    label = f"{system}, seed{'s' * (len(curves) > 1)} {seeds}"
    axis.plot(where, np.median(values, axis=0), colour, label=label)
    if len(curves) > 1:
        axis.fill_between(where, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2)
    raced = [race for curve in curves for race in curve["greedy"]] if y == "finish_rate" else []
    dots = [race[x] for race in raced], [race[y] for race in raced]
    axis.plot(*dots, "o", color=colour, markersize=3)
