"""`python -m kart_jax.record`: demonstrations of the game's AI or of a policy, in one file.

The file is NumPy's compressed `.npz`; N counts the steps of all episodes, one after another:

    frames      uint8 [N, H, W, C]   the newest frame that was seen before the step
    controls    float32 [N, 7]       what the kart did in it: see `control_names`
    actions     [N, ...]             the member of the action space; not with the driver `ai`
    states      float32 [N, 8]       the kart before the step: see `state_names`
    rewards     float32 [N]
    episodes    int32 [N]            which episode the step belongs to
    summaries   str                  JSON: how each episode ended
    race        str                  JSON: the environment's configuration
    control_names, state_names       the columns' names
"""

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from kart_jax.checks import check
from kart_jax.driving import Step, drive, make_act, open_policy, race_from_grid
from kart_jax.game import RaceConfig, make_env
from kart_jax.game.actions import Controls
from kart_jax.game.catalogue import check_installed
from kart_jax.game.config import TICK
from kart_jax.game.race import KartState
from kart_jax.play import describe
from kart_jax.trials import Driver, plain_episode

STATES = ("x", "y", "z", "heading", "speed", "on_road", "jumping", "position")
"""Metres (y is up), radians (0 = +z, growing towards +x), metres a second, place in the race."""


@dataclass(frozen=True)
class RecordConfig:
    """Which episodes to record, and who drives."""

    policy: Annotated[str | None, tyro.conf.Positional] = None
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name. With
    another driver its view is recorded; without any, that of the preset `cpu`."""
    driver: Driver = "ai"
    """`ai` is the game's own driver; `straight` holds the accelerator."""
    track: tuple[str, ...] | None = None
    """Tracks to drive on, one after another."""
    episodes: int = 1
    """Episodes to record."""
    difficulty: int | None = None
    """0 to 2: the speed of all karts and the skill of the driver `ai`."""
    opponents: int = 0
    """Karts driven by the game."""
    random_start: float = 0.0
    """Share of episodes that start at a random point along the track."""
    seed: int = 0
    """Seeds the episodes."""
    workers: int = 1
    """Races at once, each in a process of its own."""
    out: Path = Path("demonstrations.npz")
    """The file to write, in .npz."""

    def __post_init__(self) -> None:
        """Refuse what cannot be recorded."""
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        check(self.workers >= 1, "workers", self.workers, "at least 1")
        check(0 <= self.opponents <= 19, "opponents", self.opponents, "0 to 19")
        check(self.out.suffix == ".npz", "out", str(self.out), "a file name in .npz")
        folder = self.out.absolute().parent
        check(folder.is_dir(), "out", str(self.out), "in a folder that exists")


def main(arguments: Sequence[str] | None = None) -> int:
    """Record as the command line says."""
    try:
        config = tyro.cli(RecordConfig, args=arguments, prog="python -m kart_jax.record")
        arrays = record(config)
        np.savez_compressed(config.out, allow_pickle=False, **arrays)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{config.out}: {len(arrays['frames']):,} steps of {config.episodes} episodes")
    return 0


def record(config: RecordConfig) -> dict[str, NDArray[Any]]:
    """Drive the episodes, in processes of their own; the arrays of the file.

    Raises:
        ValueError: a track or a value is not to be had.
        CheckpointError: there is no such policy.
        RuntimeError: a process ended by itself.
    """
    race = _race(config)
    check(race.simulator != "fake", "simulator", "fake", "supertuxkart: others have no states")
    check_installed(race)
    workers = min(config.workers, config.episodes)
    shares = [range(first, config.episodes, workers) for first in range(workers)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(partial(_drive_episodes, config), shares))
    episodes = {number: episode for part in parts for number, episode in part}
    arrays = [episodes[number][0] for number in range(config.episodes)]
    lengths = [len(episode["rewards"]) for episode in arrays]
    return {
        **{name: np.concatenate([episode[name] for episode in arrays]) for name in arrays[0]},
        "episodes": np.repeat(np.arange(config.episodes, dtype=np.int32), lengths),
        "summaries": np.array(json.dumps([episodes[n][1] for n in range(config.episodes)])),
        "race": np.array(json.dumps(asdict(race))),
        "control_names": np.array(Controls._fields),
        "state_names": np.array(STATES),
    }


def _race(config: RecordConfig) -> RaceConfig:
    changes = {name: getattr(config, name) for name in ("track", "difficulty", "random_start")}
    policy = open_policy(config.policy, config.driver)
    race = race_from_grid(policy, config.driver, changes, config.opponents)
    if config.driver != "ai":
        return race
    # The game's driver steers anew in every step of the physics: what it does is the mean.
    ticks = round(race.action_seconds / TICK)
    return replace(race, step_seconds=TICK, action_repeat=ticks)


Episode = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""Arrays of one episode's steps, and its summary."""


def _drive_episodes(config: RecordConfig, numbers: Sequence[int]) -> list[tuple[int, Episode]]:
    """Drive some of the episodes in this process."""
    race = _race(config)
    policy = open_policy(config.policy, config.driver)
    act = make_act(config.driver, race, policy, config.seed)
    env = make_env(race)
    episodes = []
    try:
        for number in numbers:
            track = race.track[number % len(race.track)]
            steps = list(drive(env, act, config.seed + number, {"track": track}))
            summary = plain_episode(steps[-1].info["episode"])
            print(f"[{number + 1}/{config.episodes}] {describe(summary)}", file=sys.stderr)
            episodes.append((number, (_arrays(steps, config.driver), summary)))
    finally:
        env.close()
    return episodes


def _arrays(steps: Sequence[Step], driver: Driver) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.stack([step.frames[-1] for step in steps]),
        "controls": np.array([step.controls for step in steps], np.float32),
        "states": np.array([_state(s.before) for s in steps if s.before], np.float32),
        "rewards": np.array([step.reward for step in steps], np.float32),
    }
    if driver != "ai":
        arrays["actions"] = np.array([step.action for step in steps])
    return arrays


def _state(kart: KartState) -> list[float]:
    own = (kart.heading, kart.speed, kart.on_road, kart.jumping, kart.position)
    return [*kart.location.tolist(), *map(float, own)]


if __name__ == "__main__":
    sys.exit(main())
