"""Who learns faster in the same time: kart_jax or Stable-Baselines3's PPO (extra `peers`)?

    python -m benchmarks.learning [--minutes 10] [--seeds 0 1] [--ppo-alone] [--beat SECONDS]
        [OPTION OF train]

Both train on the same environment for the same wall-clock time, with the same network, one after
the other for each seed. Starting, compiling and imitating count. kart_jax begins with imitation, as
its preset has it; the peer has none, and so the settings that learnt best from nothing. With
`--ppo-alone`, kart_jax runs with those as well. All episodes begin on the grid, so that metres and
laps are whole ones, and nobody evaluates meanwhile.

Prints where each ended and how long it took to get there, and writes the curves to
`results/learning-curves.json` and `results/learning.png`.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import RESULTS, machine, report, write, write_to
from benchmarks.runs import Line, load_peer, ppo_alone, train_ours
from kart_jax.cli.options import parse

COMMON = ["--random-start", "0", "--eval-steps", "0"]
FROM_NOTHING = {
    "frames": [
        *("--rollout-length", "64", "--learning-rate", "7e-4"),
        *("--entropy-coefficient", "0.01", "--entropy-schedule", "linear"),
    ],
    "state": [
        *("--rollout-length", "128", "--learning-rate", "5e-4"),
        *("--entropy-coefficient", "0.003"),
    ],
}
"""What learnt fastest without imitation (docs/experiments.md), by what the actor sees."""
MILESTONES = {
    "200 m": ("progress_m", 200.0),
    "400 m": ("progress_m", 400.0),
    "first lap": ("finish_rate", 1e-6),
    "90% of laps": ("finish_rate", 0.9),
}
"""What to reach, by which of a curve's lists, from which value on."""
COLOURS = {"kart_jax": "tab:blue", "kart_jax, PPO alone": "tab:green", "sb3": "tab:orange"}

Curve = dict[str, Any]
"""A run: `system`, `seed`, and lists over rounds of imitation and updates of `minutes`, `steps`,
`progress_m`, `finish_rate` and `finish_time`, the latter three means over the round or the last 100
episodes."""


def record(system: str, seed: int, minutes: float, train: Callable[[], list[Line]]) -> Curve:
    """Train and take down the curve, as far as it was made in so many minutes."""
    start = time.time()
    lines = [
        line
        for line in train()
        if "episode/progress_m" in line and line["wall_time"] <= start + 60 * minutes
    ]
    return {
        "system": system,
        "seed": seed,
        "minutes": [(line["wall_time"] - start) / 60 for line in lines],
        "steps": [line["step"] for line in lines],
        "progress_m": [line["episode/progress_m"] for line in lines],
        "finish_rate": [line["episode/finish_rate"] for line in lines],
        "finish_time": [line.get("episode/finish_time") for line in lines],
    }


def compare(
    arguments: Sequence[str], minutes: float, seeds: Sequence[int], also_alone: bool
) -> list[Curve]:
    """Two runs for each seed, or three."""
    limits = [("--seed", str(seed), "--minutes", str(minutes)) for seed in seeds]
    presets = [[*COMMON, *arguments, *limit] for limit in limits]
    settings = FROM_NOTHING[parse(presets[0]).network.actor]
    nothing = [[*COMMON, *settings, *ppo_alone(arguments), *limit] for limit in limits]
    theirs = [parse(run) for run in nothing]
    sb3_ppo = load_peer()
    curves = []
    for number, seed in enumerate(seeds):
        runs = {"kart_jax": partial(train_ours, presets[number])}
        if also_alone:
            runs["kart_jax, PPO alone"] = partial(train_ours, nothing[number])
        runs["sb3"] = partial(sb3_ppo.train, theirs[number], minutes)
        curves += [record(system, seed, minutes, train) for system, train in runs.items()]
    return curves


def ends(curve: Curve) -> dict[str, Any]:
    """A row of where a run ended."""
    return {
        name: (value or [None])[-1] if isinstance(value, list) else value
        for name, value in curve.items()
    }


def milestones(curve: Curve, beat: float | None = None) -> dict[str, Any]:
    """A row of the minutes that a run took to each milestone, None if it did not get there.

    With `beat`, the last one is a mean lap below that many seconds, with most laps finished.
    """
    row = {"system": curve["system"], "seed": curve["seed"]}
    for milestone, (name, least) in MILESTONES.items():
        row[milestone] = _first(curve, [value >= least for value in curve[name]])
    if beat is not None:
        laps = zip(curve["finish_time"], curve["finish_rate"], strict=True)
        fast = [time is not None and time < beat and rate > 0.5 for time, rate in laps]
        row[f"laps below {beat:g} s"] = _first(curve, fast)
    return row


def _first(curve: Curve, reached: Sequence[bool]) -> float | None:
    """The minute of the first update at which something was reached."""
    minutes = zip(curve["minutes"], reached, strict=True)
    return next((minute for minute, true in minutes if true), None)


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw metres and finish rate over time and over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6))
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, y in zip(axes, ("progress_m", "finish_rate"), strict=True):
        for axis, x in zip(row, ("minutes", "steps"), strict=True):
            for curve in curves:
                label = f"{curve['system']}, seed {curve['seed']}"
                axis.plot(curve[x], curve[y], COLOURS[curve["system"]], label=label, alpha=0.7)
            axis.set(xlabel=x, ylabel={"progress_m": "metres", "finish_rate": "finished"}[y])
            axis.label_outer()
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, print where they ended, write the curves."""
    parser = make_parser("learning", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ppo-alone", action="store_true", help="kart_jax without imitation, too")
    parser.add_argument("--beat", type=float, metavar="SECONDS", help="a lap time to reach")
    options, passed_on = parser.parse_known_args(arguments)
    with one_line_errors():
        write_to(options.json)
        curves = compare(passed_on, options.minutes, options.seeds, options.ppo_alone)
    means = "means over a round of imitation (greedy) or the last 100 episodes (sampled)"
    report("learning", [ends(curve) for curve in curves], [f"where each run ended; {means}"])
    notes = [f"minutes from the start of the process, of {options.minutes:g}, to {means}"]
    report("learning-times", [milestones(curve, options.beat) for curve in curves], notes)
    written = {"machine": machine(), "arguments": passed_on, "curves": curves}
    write("learning-curves", written)
    plot(curves, options.json.with_suffix(".png") if options.json else RESULTS / "learning.png")


if __name__ == "__main__":
    main()
