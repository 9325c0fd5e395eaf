"""How many policy steps a second does training make, end to end, and where does the time go?

    python -m benchmarks.train speed devices [--seconds 60] [--rounds 3] [OPTION OF kart_jax.train]

`speed` compares, in turns, the bare game, `kart_jax.train` without and with `--overlap`, and
Stable-Baselines3's PPO (extra `peers`) on as many races, with the same network and options; the
first update is left out.
`devices` is a check of overhead: the same update of the fake game split over virtual devices,
which share the processor's cores, so that no time can be gained.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from benchmarks.bare_game import BareGame
from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from benchmarks.runs import Line, load_peer, ppo_alone, train_ours
from kart_jax.cli.options import parse
from kart_jax.config import TrainConfig

BARE_STEPS = 20
"""Steps between two looks at the clock."""
FAKE = ("--simulator", "fake", "--num-envs", "16", "--rollout-length", "32")
"""Divides into 8 devices and 2 groups of workers."""


def step_times(lines: Sequence[Line]) -> dict[str, float]:
    """Milliseconds of a policy step, by part and in `total`; the first update only warms up.

    Raises:
        RuntimeError: fewer than two updates were logged.
    """
    if len(lines) < 2:
        raise RuntimeError(f"{len(lines)} updates are too few to measure: more --seconds")
    first, last = lines[0], lines[-1]
    steps = last["step"] - first["step"]
    total = 1e3 * (last["wall_time"] - first["wall_time"]) / steps
    parts = {
        name.removeprefix("time/"): 1e3 * (last[name] - first.get(name, 0.0)) / steps
        for name in last
        if name.startswith("time/") and name != "time/steps_per_second"
    }
    parts = {name: value for name, value in parts.items() if value > 0.0}
    return {**parts, "other": total - sum(parts.values()), "total": total}


def run_bare(config: TrainConfig, seconds: float) -> dict[str, float]:
    """Milliseconds of a step of as many bare races, steered at random."""
    count = config.workers.num_envs
    rng = np.random.default_rng(0)
    game = BareGame(config.race, count)
    try:
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            game.step(rng.integers(3, size=(BARE_STEPS, count, 2)))
            steps += BARE_STEPS * count
    finally:
        game.close()
    return {"total": 1e3 * elapsed / steps}


def compare_speed(arguments: Sequence[str], seconds: float, rounds: int) -> None:
    """The game alone, ours and the peer's in turns."""
    arguments = ppo_alone(arguments)
    config = parse(arguments)
    sb3_ppo = load_peer()
    minutes = seconds / 60
    ours = [*arguments, "--minutes", str(minutes)]
    systems: dict[str, Callable[[], dict[str, float]]] = {
        "game alone": lambda: run_bare(config, seconds),
        "kart_jax": lambda: step_times(train_ours(ours)),
        "kart_jax --overlap": lambda: step_times(train_ours([*ours, "--overlap"])),
        "sb3": lambda: step_times(sb3_ppo.train(config, minutes)),
    }
    times: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, measure in systems.items():
            times[name].append(measure())
    totals = {name: [t["total"] for t in runs] for name, runs in times.items()}
    rows = [
        {
            "system": name,
            "steps/s": 1e3 / statistics.median(total),
            "of the game": _median_ratio(totals["game alone"], total),
            "to sb3": _median_ratio(totals["sb3"], total),
        }
        for name, total in totals.items()
    ]
    notes = [
        f"{config.workers.num_envs} races, {config.ppo.rollout_length} steps a rollout, "
        f"{config.ppo.epochs} epochs of {config.ppo.minibatches} minibatches",
        f"medians of {rounds} rounds of {seconds:g} s each; ratios within a round",
        "parameters: {}, sb3 {}".format(*_parameters(config, sb3_ppo)),
    ]
    report("train", rows, notes)
    trained = list(systems)[1:]
    parts = [row for name in trained for row in shares(name, times[name])]
    report("train-parts", parts, ["medians, milliseconds of wall-clock time a policy step"])


def _parameters(config: TrainConfig, sb3_ppo: ModuleType) -> tuple[int, int]:
    """Of our network and of the peer's: the same, if they are the same network."""
    from kart_jax.run_folder.source import policy_spec

    ours = jax.tree.leaves(policy_spec(config).template()["params"])
    return sum(leaf.size for leaf in ours), sb3_ppo.count_parameters(config)


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def shares(system: str, runs: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """A row for each part of a system's step, the longest first."""
    total = statistics.median(times["total"] for times in runs)
    names = {name for times in runs for name in times}
    middle = {name: statistics.median(t.get(name, 0.0) for t in runs) for name in names}
    return [
        {"system": system, "part": name, "ms/step": ms, "share": ms / total}
        for name, ms in sorted(middle.items(), key=lambda item: item[1], reverse=True)
    ]


def compare_devices(
    arguments: Sequence[str], counts: Sequence[int], updates: int, rounds: int
) -> None:
    """The same updates of the fake game over 1 to 8 virtual devices, in turns."""
    arguments = ppo_alone([*FAKE, *arguments])
    steps = parse(arguments).steps_per_update
    arguments += ["--total-steps", str(updates * steps)]
    times: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count="
            lines = train_ours(arguments, XLA_FLAGS=f"{flags}{count}", JAX_PLATFORMS="cpu")
            times[count].append(step_times(lines))
    learn = {count: [steps * t["learn"] for t in runs] for count, runs in times.items()}
    rows = [
        {
            "devices": count,
            "learn ms/update": statistics.median(learn[count]),
            f"to {counts[0]}": _median_ratio(learn[count], learn[counts[0]]),
            "all ms/update": statistics.median(steps * t["total"] for t in times[count]),
        }
        for count in counts
    ]
    notes = [f"{steps} samples an update on {len(os.sched_getaffinity(0))} cores, fake game"]
    report("train-devices", rows, notes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts named on the command line."""
    parser = make_parser("train", __doc__)
    parser.add_argument("parts", nargs="+", choices=["speed", "devices"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run of `speed`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--updates", type=int, default=5, help="of each run of `devices`")
    options, passed_on = parser.parse_known_args(arguments)
    with one_line_errors():
        write_to(options.json)
        if "speed" in options.parts:
            compare_speed(passed_on, options.seconds, options.rounds)
        if "devices" in options.parts:
            compare_devices(passed_on, options.devices, options.updates, options.rounds)


if __name__ == "__main__":
    main()
