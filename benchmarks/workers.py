"""How much of the game's own speed is left when many races run at once.

    python -m benchmarks.workers small large buffering fake

Each part compares, in turns within one run, so that a machine that slows down slows
all alike: the bare game, `KartVectorEnv`, Gymnasium's `AsyncVectorEnv` with shared
memory and Stable-Baselines3's `SubprocVecEnv` (needs the extra `peers`).

Two more systems tell where time is lost. `bare in step` is the bare game where all processes wait
for the slowest after each step, as in every vector environment. `kart_jax in groups` is
`WorkerGroups`, as the trainer uses it: a group goes on without waiting for the others.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from benchmarks.bare_game import BareGame
from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.game import RaceConfig, make_env
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.vector_env import KartVectorEnv

ENDLESS = {"time_limit": 1e6, "stuck_seconds": 1e6, "wrong_way_seconds": 1e6}
SMALL = RaceConfig(stack=4, action_set="drive", **ENDLESS)
LARGE = RaceConfig(height=400, width=600, colour="rgb", stack=5, action_set="drive", **ENDLESS)
FAKE = RaceConfig(simulator="fake", stack=4, action_set="drive", **ENDLESS)

Runner = Callable[[np.ndarray], None]
"""Takes the steps `[K, N, 2]` of N environments."""


def step_each(step: Callable[[np.ndarray], Any], actions: np.ndarray) -> None:
    """One call per row of `actions`."""
    for action in actions:
        step(action)


def step_in_groups(envs: WorkerGroups, actions: np.ndarray) -> None:
    """Each group is sent off again as soon as it has answered."""
    for t, action in enumerate([*actions, None]):
        for group, members in enumerate(envs.groups):
            if t > 0:
                envs.receive(group)
            if action is not None:
                envs.send(group, action[members.start : members.stop])


def make_groups(race: RaceConfig, count: int, groups: int, stack: ExitStack) -> WorkerGroups:
    """Ours, as the trainer uses them, in so many groups."""
    envs = WorkerGroups(race, WorkerConfig(num_envs=count, groups=groups), seed=0)
    stack.callback(envs.close)
    return envs


def make_systems(race: RaceConfig, count: int, start: str, stack: ExitStack) -> dict[str, Any]:
    """The vector environments to compare, with `reset` and `step`."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    make = partial(make_env, race)
    ours = KartVectorEnv(race, WorkerConfig(num_envs=count, groups=1), seed=0)
    stack.callback(ours.close)
    systems: dict[str, Any] = {"kart_jax": ours}
    systems["async"] = AsyncVectorEnv(
        [make] * count, context=start, autoreset_mode=AutoresetMode.SAME_STEP
    )
    stack.callback(systems["async"].close)
    systems["sb3"] = SubprocVecEnv([make] * count, start_method=start)
    stack.callback(systems["sb3"].close)
    return systems


def make_bare(race: RaceConfig, count: int, stack: ExitStack) -> dict[str, Runner]:
    """The bare game: each process by itself, and all in step."""
    game = BareGame(race, count)
    stack.callback(game.close)
    if count == 1:
        return {"bare": game.step}
    slowed = BareGame(race, count)
    stack.callback(slowed.close)
    in_step = partial(step_each, lambda action: slowed.step(action[None]))
    return {"bare": game.step, "bare in step": in_step}


def timed(call: Callable[[], Any]) -> float:
    """Seconds that `call` takes."""
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def compare_game(race: RaceConfig, counts: list[int], steps: int, rounds: int) -> list[Any]:
    """Steps a second of the game, by number of workers; each system in turn in each round."""
    rows = []
    for count in counts:
        with ExitStack() as stack:
            systems = make_systems(race, count, "spawn", stack)
            for system in systems.values():
                system.reset()
            resets = {name: timed(system.reset) for name, system in systems.items()}
            runners = make_bare(race, count, stack) | {
                name: partial(step_each, system.step) for name, system in systems.items()
            }
            if count > 1:
                grouped = make_groups(race, count, 2, stack)
                grouped.start()
                runners["kart_jax in groups"] = partial(step_in_groups, grouped)
            rates: dict[str, list[float]] = {name: [] for name in runners}
            rng = np.random.default_rng(0)
            for round_ in range(1 + rounds):
                steer = np.repeat(rng.integers(3, size=(steps, 1)), count, axis=1)
                actions = np.stack([np.ones_like(steer), steer], axis=-1)
                for name, run in runners.items():
                    rate = steps * count / timed(partial(run, actions))
                    if round_ > 0:  # the first warms up
                        rates[name].append(rate)
        rows += [
            {
                "workers": count,
                "system": name,
                "steps/s": statistics.median(rate),
                "of bare": _median_ratio(rate, rates["bare"]),
                "kart_jax to it": _median_ratio(rates["kart_jax"], rate),
                "reset ms": 1e3 * resets[name] if name in resets else None,
            }
            for name, rate in rates.items()
        ]
    return rows


def _median_ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def compare_buffering(count: int, steps: int, rounds: int) -> list[Any]:
    """Against no double buffering, with a policy that takes as long as a step."""
    rows = []
    with ExitStack() as stack:
        envs = {}
        for groups in (1, 2):
            envs[groups] = make_groups(SMALL, count, groups, stack)
            envs[groups].start()
        actions = np.ones((count, 2), int)
        rates: dict[int, list[float]] = {1: [], 2: []}
        pauses = []
        for _ in range(rounds):
            pauses.append(timed(lambda: [step_all(envs[1], actions) for _ in range(steps)]) / steps)
            pause = pauses[-1]
            for groups, env in envs.items():
                for group in range(groups):
                    env.send(group, actions[: count // groups])
                seconds = timed(
                    lambda env=env, pause=pause: [
                        overlap(env, actions, pause) for _ in range(steps)
                    ]
                )
                for group in range(groups):
                    env.receive(group)
                rates[groups].append(steps * count / seconds)
    for groups, rate in rates.items():
        rows.append(
            {
                "groups": groups,
                "policy ms": 1e3 * statistics.median(pauses),
                "steps/s": statistics.median(rate),
                "gain": statistics.median(
                    mine / other for mine, other in zip(rate, rates[1], strict=True)
                ),
            }
        )
    return rows


def step_all(envs: WorkerGroups, actions: np.ndarray) -> None:
    """One step everywhere, of one group."""
    envs.send(0, actions)
    envs.receive(0)


def overlap(envs: WorkerGroups, actions: np.ndarray, pause: float) -> None:
    """One step everywhere, each group sent off again as soon as its actions are there."""
    for group, members in enumerate(envs.groups):
        envs.receive(group)
        time.sleep(pause * len(members) / envs.num_envs)  # an accelerator's policy
        envs.send(group, actions[: len(members)])


def compare_fake(counts: list[int], steps: int, rounds: int) -> list[Any]:
    """Microseconds per environment step beyond the fake game's own."""
    env = make_env(FAKE)
    env.reset(seed=0)
    action = np.ones(2, int)
    alone = timed(lambda: [env.step(action) for _ in range(5000)]) / 5000 * 1e6
    rows = []
    for count in counts:
        with ExitStack() as stack:
            systems = make_systems(FAKE, count, "fork", stack)
            for system in systems.values():
                system.reset()
            wall: dict[str, list[float]] = {name: [] for name in systems}
            actions = np.ones((max(steps // count, 20), count, 2), int)
            for _ in range(rounds):
                for name, system in systems.items():
                    seconds = timed(partial(step_each, system.step, actions))
                    wall[name].append(seconds / len(actions) / count * 1e6)
        middle = {name: statistics.median(times) for name, times in wall.items()}
        rows.append(
            {"environments": count, "game alone us": alone}
            | {f"{name} us": value for name, value in middle.items()}
            | {
                f"{name} / kart_jax": middle[name] / middle["kart_jax"]
                for name in middle
                if name != "kart_jax"
            }
        )
    return rows


def main() -> None:
    """Run the parts named on the command line."""
    parser = make_parser("workers", __doc__)
    parts = ["small", "large", "buffering", "fake"]
    parser.add_argument("parts", nargs="+", choices=parts)
    parser.add_argument("--counts", type=int, nargs="+", help="numbers of workers")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with one_line_errors():
        write_to(arguments.json)
    rounds = arguments.rounds
    if "small" in arguments.parts:
        rows = compare_game(SMALL, arguments.counts or [1, 2, 4], 60, rounds)
        report("workers-64x48-grey-4", rows, ["resets on the same track, all workers at once"])
    if "large" in arguments.parts:
        rows = compare_game(LARGE, arguments.counts or [1, 2, 4], 20, rounds)
        report("workers-600x400-rgb-5", rows, ["resets on the same track, all workers at once"])
    if "buffering" in arguments.parts:
        rows = compare_buffering(4, 40, rounds)
        report("workers-buffering", rows, ["4 workers; the policy sleeps as long as they step"])
    if "fake" in arguments.parts:
        rows = compare_fake(arguments.counts or [4, 64, 256], 4000, rounds)
        report("workers-fake", rows, ["wall-clock time per environment step, 64 x 48 grey x 4"])


if __name__ == "__main__":
    main()
