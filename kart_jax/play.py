"""`python -m kart_jax.play`: drive episodes with a policy, at random, or by the game's AI."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
import tyro

from kart_jax.checks import check
from kart_jax.game import RaceConfig, make_env
from kart_jax.game.catalogue import check_installed

Driver = Callable[[Any], Any]
"""Takes an observation and gives an action."""


@dataclass(frozen=True)
class PlayConfig:
    """Which episodes to drive, and who drives."""

    policy: Annotated[Path | None, tyro.conf.Positional] = None
    """A run's folder or a checkpoint's; not needed by the other drivers."""
    driver: Literal["policy", "random", "straight", "ai"] = "policy"
    """`straight` holds the accelerator; `ai` is the game's own driver."""
    track: tuple[str, ...] | None = None
    """Tracks to drive on, one after another; by default those of the training."""
    episodes: int = 3
    """Episodes to drive."""
    difficulty: int | None = None
    """0 to 2; by default that of the training."""
    sample: bool = False
    """Sample the policy's actions instead of taking the most probable."""
    seed: int = 0
    """Seeds the episodes and the sampling."""
    json: Path | None = None
    """Write the episodes to this file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        given = self.driver != "policy" or self.policy is not None
        check(given, "policy", self.policy, "a run or a checkpoint, or choose another --driver")


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive as the command line says, print each episode and their means."""
    try:
        config = tyro.cli(PlayConfig, args=arguments, prog="python -m kart_jax.play")
        episodes = []
        for episode in play(config):
            print(describe(episode), flush=True)
            episodes.append(episode)
        print(summarise(episodes))
        if config.json is not None:
            config.json.write_text(json.dumps({"episodes": episodes}, indent=2), encoding="utf-8")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def play(config: PlayConfig) -> Iterator[dict[str, Any]]:
    """Drive the episodes; each is a dictionary of plain values.

    Raises:
        ValueError: a track or a value is not to be had.
        CheckpointError: there is no such policy.
    """
    race, driver = _race_and_driver(config)
    check_installed(race)
    env = make_env(race)
    try:
        made = driver(env)
        for number in range(config.episodes):
            track = race.track[number % len(race.track)]
            episode = drive(env, made, config.seed + number, {"track": track})
            yield {**episode, "driver": config.driver, "seed": config.seed + number}
    finally:
        env.close()


def drive(
    env: gymnasium.Env[Any, Any], driver: Driver, seed: int, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Drive one episode to its end; what the environment says of it."""
    observation, _ = env.reset(seed=seed, options=options)
    while True:
        observation, _, terminated, truncated, info = env.step(driver(observation))
        if terminated or truncated:
            episode: dict[str, Any] = info["episode"]
            return {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in episode.items()
            }


def describe(episode: dict[str, Any]) -> str:
    """One line about an episode."""
    time = f"{episode['game_seconds']:.1f} s"
    return (
        f"{episode['track']}: {episode['progress_m']:.0f} m "
        f"({episode['progress_fraction']:.0%}), {episode['end']} after {time}, "
        f"return {episode['return']:.2f}"
    )


def summarise(episodes: Sequence[dict[str, Any]]) -> str:
    """The means of some episodes in one line."""
    progress = np.array([e["progress_m"] for e in episodes])
    finished = [e for e in episodes if e["finished"]]
    line = (
        f"{len(episodes)} episodes: {progress.mean():.1f} m on average "
        f"(deviation {progress.std():.1f}), {len(finished)} finished"
    )
    if finished:
        line += f" in {np.mean([e['finish_time'] for e in finished]):.1f} s of game time"
    return line


def _race_and_driver(
    config: PlayConfig,
) -> tuple[RaceConfig, Callable[[gymnasium.Env[Any, Any]], Driver]]:
    """The race to drive, and what makes a driver for its environment."""
    changes: dict[str, Any] = {"track": config.track, "difficulty": config.difficulty}
    changes = {name: value for name, value in changes.items() if value is not None}
    race = RaceConfig(action_set="drive")
    if config.policy is None:
        if config.driver == "ai":
            changes["driver"] = "ai"
        make = _random if config.driver == "random" else _straight
        return replace(race, **changes), lambda env: make(env, config.seed)

    import jax

    from kart_jax.policy.policy import load_policy

    policy = load_policy(config.policy)
    race = RaceConfig(**policy.race)
    # The episodes count from the grid, whatever helped to train.
    race = replace(race, **{"random_start": 0.0, "track_weights": (), **changes})
    if config.driver != "policy":
        raise ValueError(f"a policy was given, so --driver {config.driver} has no use for it")
    if not config.sample:
        return race, lambda _: policy.act
    keys = iter(range(sys.maxsize))
    first = jax.random.key(config.seed)
    return race, lambda _: lambda frames: policy.act(frames, jax.random.fold_in(first, next(keys)))


def _random(env: gymnasium.Env[Any, Any], seed: int) -> Driver:
    env.action_space.seed(seed)
    return lambda _: env.action_space.sample()


def _straight(_: gymnasium.Env[Any, Any], __: int) -> Driver:
    """Full throttle, wheel straight, in the `drive` actions."""
    action = np.array([1, 1])
    return lambda _: action


if __name__ == "__main__":
    sys.exit(main())
