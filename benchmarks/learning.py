"""Who learns faster in the same time: kart_jax or Stable-Baselines3's PPO (extra `peers`)?

    python -m benchmarks.learning [--minutes 10] [--seeds 0 1] [--ppo-alone] [--beat SECONDS]
        [OPTION OF train]

Both train on the same environment for the same wall-clock time, with the same network, one after
the other for each seed. Starting, compiling and imitating count. kart_jax begins with imitation if
its preset does; the peer never does, and has the settings that learnt best from nothing, but for
those that the command line gives. With `--ppo-alone`, kart_jax runs like the peer as well. Nobody
evaluates meanwhile. All episodes begin on the grid; with `--random-start` only those that do count.

With `--greedy`, each checkpoint (`--checkpoint-steps`) then races greedily from the grid, from
starts that training did not draw, which no clock counts.

Prints where each ended and how long it took to get there, and writes the curves to
`results/learning-curves.json` and `results/learning.png`.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, one_line_errors
from benchmarks.curves import Curve, curve_of, ends, medians, milestones, plot
from benchmarks.report import RESULTS, machine, report, write, write_to
from benchmarks.runs import Line, load_peer, ppo_alone, train_in
from kart_jax.cli.options import parse
from kart_jax.config import PRESETS, TrainConfig
from kart_jax.evaluation.trials import make_trial, run_trials
from kart_jax.run_folder.loading import load_policy
from kart_jax.workers.observer import VectorAct

COMMON = ["--random-start", "0", "--eval-steps", "0"]
SCRATCH = PRESETS["scratch"].ppo
FROM_NOTHING = {
    "frames": [
        *("--rollout-length", str(SCRATCH.rollout_length), "--epochs", str(SCRATCH.epochs)),
        *("--discount", str(SCRATCH.discount), "--learning-rate", str(SCRATCH.learning_rate)),
        *("--learning-rate-schedule", SCRATCH.learning_rate_schedule),
        *("--entropy-coefficient", str(SCRATCH.entropy_coefficient)),
        *("--entropy-schedule", SCRATCH.entropy_schedule),
    ],
    "state": [
        *("--rollout-length", "128", "--learning-rate", "5e-4"),
        *("--entropy-coefficient", "0.003"),
    ],
}
"""What learnt fastest without imitation (docs/experiments.md), by what the actor sees."""
RACERS = 2
"""Races at once of checkpoints that are raced."""

Train = Callable[[Path], list[Line]]
"""Trains in a folder, which it fills with checkpoints; what it logged."""
Load = Callable[[Path], VectorAct]
"""Loads a checkpoint."""


@dataclass(frozen=True)
class Runner:
    """A system that trains with one run's options."""

    system: str
    config: TrainConfig
    train: Train
    checkpoints: str
    """The folder of checkpoints, named by their steps, in that of `train`."""
    load: Load

    def run(self, minutes: float, episodes: int) -> Curve:
        """Train, then race each checkpoint greedily in so many episodes, which no clock counts."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            start = time.time()
            lines = self.train(folder)
            curve = curve_of(self.system, self.config.run.seed, lines, start, minutes)
            if episodes:
                curve["greedy"] = list(self._race(folder / self.checkpoints, curve, episodes))
            return curve

    def _race(self, folder: Path, curve: Curve, episodes: int) -> Iterator[dict[str, Any]]:
        race = self.config.race
        trials = [
            make_trial("policy", track, number, race.difficulty, race.karts)
            for track in race.track
            for number in range(episodes)
        ]
        minutes = dict(zip(curve["steps"], curve["minutes"], strict=True))
        steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        for step in steps:
            if step in minutes:
                act = self.load(folder / str(step))
                ended = [one.episode for one in run_trials(race, trials, act, RACERS)]
                times = [one["finish_time"] for one in ended if one["finished"]]
                rate = len(times) / len(ended)
                mean = sum(times) / len(times) if times else None
                at = {"steps": step, "minutes": minutes[step]}
                yield at | {"finish_rate": rate, "finish_time": mean}


def runners(
    arguments: Sequence[str], minutes: float, seeds: Sequence[int], also_alone: bool
) -> list[Runner]:
    """Two runs for each seed, or three."""
    found = []
    for seed in seeds:
        limits = ("--seed", str(seed), "--minutes", str(minutes))
        preset = [*COMMON, *arguments, *limits]
        settings = FROM_NOTHING[parse(preset).network.actor]
        nothing = [*COMMON, *settings, *ppo_alone(arguments), *limits]
        found.append(_ours("kart_jax", preset))
        if also_alone:
            found.append(_ours("kart_jax, PPO alone", nothing))
        config = parse(nothing)
        sb3_ppo = load_peer()
        train, load = partial(sb3_ppo.train, config, minutes), partial(sb3_ppo.load, config)
        found.append(Runner("sb3", config, train, ".", load))
    return found


def _ours(system: str, arguments: Sequence[str]) -> Runner:
    def train(folder: Path) -> list[Line]:
        return train_in(folder / "run", [*arguments, "--keep", "1000"])

    return Runner(
        system, parse(arguments), train, "run/checkpoints", lambda path: load_policy(path).act
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, print where they ended, write the curves."""
    parser = make_parser("learning", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ppo-alone", action="store_true", help="kart_jax without imitation, too")
    parser.add_argument("--beat", type=float, metavar="SECONDS", help="a lap time to reach")
    parser.add_argument("--greedy", type=int, default=0, metavar="EPISODES", help="per checkpoint")
    options, passed_on = parser.parse_known_args(arguments)
    with one_line_errors():
        write_to(options.json)
        runs = runners(passed_on, options.minutes, options.seeds, options.ppo_alone)
        curves: list[Curve] = []
        for one in runs:
            curves.append(one.run(options.minutes, options.greedy))
            write(
                "learning-curves", {"machine": machine(), "arguments": passed_on, "curves": curves}
            )
    means = "means over a round of imitation (greedy) or the last 100 episodes (sampled)"
    report("learning", [ends(curve) for curve in curves], [f"where each run ended; {means}"])
    for over, unit in (("minutes", "minutes from the start of the process"), ("steps", "steps")):
        rows = [milestones(curve, over, options.beat) for curve in curves]
        rows += medians(rows) if len(options.seeds) > 1 else []
        report(f"learning-{over}", rows, [f"{unit}, of {options.minutes:g} minutes, to {means}"])
    plot(curves, options.json.with_suffix(".png") if options.json else RESULTS / "learning.png")


if __name__ == "__main__":
    main()
