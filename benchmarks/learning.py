"""Who learns faster in the same time: kart_jax or Stable-Baselines3's PPO (extra `peers`)?

    python -m benchmarks.learning [--minutes 10] [--seeds 0 1] [OPTION OF kart_jax.train]

Both train on the same environment for the same wall-clock time, with the same network and
options, one after the other for each seed. Starting and compiling count. Prints where each ended,
and writes the curves to `results/learning-curves.json` and, with the extra `viz`,
`results/learning.png`. Schedules end at `--total-steps`, for both.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.report import RESULTS, machine, report
from benchmarks.runs import Line, load_peer, train_ours
from kart_jax.config import parse

Curve = dict[str, Any]
"""A run: `system`, `seed`, and lists over updates of `minutes`, `steps`, `progress_m` and
`finish_rate`, the latter two means over the last 100 episodes."""


def record(system: str, seed: int, train: Callable[[], list[Line]]) -> Curve:
    """Train and take down the curve."""
    start = time.time()
    lines = [line for line in train() if "episode/progress_m" in line]
    if not lines:
        raise RuntimeError(f"{system} ended no episode: more --minutes")
    return {
        "system": system,
        "seed": seed,
        "minutes": [(line["wall_time"] - start) / 60 for line in lines],
        "steps": [line["step"] for line in lines],
        "progress_m": [line["episode/progress_m"] for line in lines],
        "finish_rate": [line["episode/finish_rate"] for line in lines],
    }


def compare(arguments: Sequence[str], minutes: float, seeds: Sequence[int]) -> list[Curve]:
    """Two runs for each seed."""
    runs = [[*arguments, "--seed", str(seed), "--minutes", str(minutes)] for seed in seeds]
    configs = [parse(run) for run in runs]
    sb3_ppo = load_peer()
    curves = []
    for seed, run, config in zip(seeds, runs, configs, strict=True):
        curves.append(record("kart_jax", seed, partial(train_ours, run)))
        curves.append(record("sb3", seed, partial(sb3_ppo.train, config, minutes)))
    return curves


def plot(curves: Sequence[Curve]) -> None:
    """Draw metres and finish rate over time and over steps."""
    try:
        import matplotlib
    except ImportError:
        print("no plot without matplotlib: `pip install -e .[viz]`")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex="col", sharey="row")
    colours = {"kart_jax": "tab:blue", "sb3": "tab:orange"}
    for row, y in zip(axes, ("progress_m", "finish_rate"), strict=True):
        for axis, x in zip(row, ("minutes", "steps"), strict=True):
            for curve in curves:
                label = f"{curve['system']}, seed {curve['seed']}"
                axis.plot(curve[x], curve[y], colours[curve["system"]], label=label, alpha=0.7)
            axis.set(xlabel=x, ylabel={"progress_m": "metres", "finish_rate": "finished"}[y])
            axis.label_outer()
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(RESULTS / "learning.png", dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, print where they ended, write the curves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options, passed_on = parser.parse_known_args(arguments)
    try:
        curves = compare(passed_on, options.minutes, options.seeds)
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from None
    ends = [
        {name: value[-1] if isinstance(value, list) else value for name, value in curve.items()}
        for curve in curves
    ]
    report("learning", ends, ["where each run ended; means over the last 100 episodes, sampled"])
    written = {"machine": machine(), "arguments": passed_on, "curves": curves}
    (RESULTS / "learning-curves.json").write_text(json.dumps(written, indent=1) + "\n")
    plot(curves)


if __name__ == "__main__":
    main()
