"""What is left of the game's own speed where nothing is drawn: the environment, and workers.

Usage: python -m benchmarks.state [--track TRACK] [--rounds N] [--workers N ...]
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.game import RaceConfig
from kart_jax.game.actions import closest_actions
from kart_jax.game.env import KartEnv
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups

NOTES = [
    "core_steps_s: steps of 0.1 s for each second of one core (processor time, so that other work "
    "on the machine counts little); steps_s: for each second of the clock",
    "bare game: pystk2 alone, with the guide's controls of the environment's laps",
    "environment: state, reward and the end of episodes, without resets; with them: one a lap",
    "workers: random actions, in two groups if there are several, resets and all",
]


def environment(track: str, rounds: int) -> list[dict[str, Any]]:
    """The bare game and the environment by turns, over the same laps."""
    config = RaceConfig(
        track=(track,), observation="state", action_set="fine", hold_start=True, start_jitter=0.5
    )
    env = KartEnv(config)
    laps = [_guided_lap(env, seed) for seed in range(4)]
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for about, actions in laps:
            reset = partial(env.reset, options=about)
            times.setdefault("reset", []).append(_timed(reset))
            times.setdefault("environment", []).append(_timed(partial(_drive, env, actions)))
            reset()
            times.setdefault("bare game", []).append(_timed(partial(_step_bare, env, actions)))
    env.close()
    steps = rounds * sum(len(actions) for _, actions in laps)
    sums = {name: np.sum(values, axis=0) for name, values in times.items()}
    sums["environment, resets"] = sums["environment"] + sums.pop("reset")
    return [
        {"what": name, "steps_s": steps / clock, "core_steps_s": steps / processor}
        for name, (clock, processor) in sorted(sums.items())
    ]


def _guided_lap(env: KartEnv, seed: int) -> tuple[dict[str, Any], list[Any]]:
    """An episode's seed, and its actions."""
    _, info = env.reset(seed=seed)
    actions, ended = [], False
    while not ended:
        controls = np.array([env.guide(drifting=True)], np.float32)
        actions.append(closest_actions(env.config.action_set, controls)[0])
        *_, terminated, truncated, _ = env.step(actions[-1])
        ended = terminated or truncated
    return {"episode_seed": info["episode_seed"]}, actions


def _drive(env: KartEnv, actions: list[Any]) -> None:
    for action in actions:
        env.step(action)


def _step_bare(env: KartEnv, actions: list[Any]) -> None:
    race = env._race
    assert race is not None
    for action in actions:
        race._race.step(race._stk.Action(**env._actions.controls(action)._asdict()))


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock and of this process."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def workers(track: str, count: int, seconds: float = 10.0) -> dict[str, Any]:
    """Steps a second of all of so many workers."""
    race = RaceConfig(
        track=(track,), observation="state", action_set="fine", random_start=0.5, hold_start=True
    )
    groups = 1 if count % 2 else 2
    rng = np.random.default_rng(0)
    with WorkerGroups(race, WorkerConfig(num_envs=count, groups=groups), seed=0) as envs:
        envs.start()
        size = count // groups
        envs.single_action_space.seed(0)
        drawn = np.array([envs.single_action_space.sample() for _ in range(1000)])
        for group in range(groups):
            envs.send(group, drawn[rng.integers(1000, size=size)])
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for group in range(groups):
                steps += len(envs.receive(group).rewards)
                envs.send(group, drawn[rng.integers(1000, size=size)])
        rate = steps / (time.perf_counter() - start)
        for group in range(groups):
            envs.receive(group)
    return {"what": f"{count} workers", "steps_s": rate}


def main() -> None:
    """Measure, print and write what the module's docstring says."""
    parser = make_parser("state", __doc__)
    parser.add_argument("--track", default="lighthouse")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 8, 16])
    options = parser.parse_args()
    with one_line_errors():
        write_to(options.json)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        rows = pool.submit(environment, options.track, options.rounds).result()
    rows += [workers(options.track, count) for count in options.workers]
    report("state", rows, [f"track: {options.track}", *NOTES])


if __name__ == "__main__":
    main()
