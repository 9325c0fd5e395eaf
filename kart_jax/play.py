"""`python -m kart_jax.play`: drive episodes with a policy, at random, or by the game's AI."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from kart_jax.cli.command import command, program
from kart_jax.evaluation.drivers import (
    Step,
    add_values,
    drive_episodes,
    make_act,
    open_policy,
    race_from_grid,
)
from kart_jax.evaluation.statistics import end_seconds
from kart_jax.evaluation.trials import Driver, plain_episode
from kart_jax.evaluation.video import annotate, check_video, film, print_progress, write_video
from kart_jax.files import check_output, expand_paths
from kart_jax.game.config import DIFFICULTIES
from kart_jax.game.engine.catalogue import check_installed
from kart_jax.validation import check, check_choice, check_seed


@dataclass(frozen=True)
class PlayConfig:
    """Which episodes to drive, and who drives."""

    policy: Annotated[str | None, tyro.conf.Positional] = None
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name. Other
    drivers need none; given one, they drive on its track."""
    driver: Driver = "policy"
    """`straight` holds the accelerator; `ai` is the game's own driver; `guide` knows the road;
    `coach` is the shipped policy that sees the state."""
    track: tuple[str, ...] | None = None
    """Tracks to drive on, one after another; by default those of the training."""
    episodes: int = 3
    """Episodes to drive."""
    difficulty: int | None = None
    """0 to 3; by default that of the training."""
    opponents: int = 0
    """Karts driven by the game."""
    sample: bool = False
    """Sample the policy's actions instead of taking the most probable."""
    seed: int = 0
    """Seeds the episodes and the sampling."""
    json: Path | None = None
    """Write the episodes to this file."""
    video: Path | None = None
    """Film the episodes, one after another, to this .mp4 or .gif file."""
    overlay: bool = False
    """Draw the policy's own view, speed, action and value into the video."""

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        expand_paths(self)
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        check(0 <= self.opponents <= 19, "opponents", self.opponents, "0 to 19")
        check_seed("seed", self.seed, self.episodes)
        check_choice("difficulty", self.difficulty, [None, *DIFFICULTIES])
        check_output("json", self.json)
        check(self.video is not None or not self.overlay, "overlay", True, "used with --video")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Drive as the command line says, print each episode and their means."""
    config = tyro.cli(PlayConfig, args=arguments, prog=program("play"))
    episodes = []
    for episode in play(config):
        print(describe_episode(episode), flush=True)
        episodes.append(episode)
    print(describe_episodes(episodes))
    if config.json is not None:
        config.json.write_text(json.dumps({"episodes": episodes}, indent=2), encoding="utf-8")
    return 0


def play(config: PlayConfig) -> Iterator[dict[str, Any]]:
    """Drive the episodes; each is a dictionary of plain values. A video follows in the end.

    Raises:
        ValueError: a track or a value is not available.
        CheckpointError: there is no such policy.
    """
    policy = open_policy(config.policy, config.driver)
    changes = {"track": config.track, "difficulty": config.difficulty}
    race = race_from_grid(policy, config.driver, changes, config.opponents)
    check_installed(race)
    if config.video is not None:
        check_video(config.video, race)
    act = make_act(config.driver, race, policy, config.seed, config.sample)
    driven: list[list[Step]] = []
    for steps in drive_episodes(race, act, config.episodes, config.seed):
        seed = config.seed + len(driven)
        driven.append(steps if config.video else [])
        yield {**plain_episode(steps[-1].info["summary"]), "driver": config.driver, "seed": seed}
    if config.video is None:
        return
    if config.overlay and policy is not None and config.driver in ("policy", "coach"):
        driven = [add_values(policy, steps) for steps in driven]
    draw = partial(annotate, race) if config.overlay else None
    views = (view for steps in driven for view in film(race, steps, draw))
    count = sum(len(steps) + (draw is None) for steps in driven)
    write_video(config.video, print_progress(views, count), 1 / race.action_seconds)


def describe_episode(episode: dict[str, Any]) -> str:
    """Describe an episode in one line."""
    seconds = end_seconds(episode)
    return (
        f"{episode['track']}: {episode['progress_m']:.0f} m "
        f"({episode['progress_fraction']:.0%}), {episode['end']} after {seconds:.1f} s, "
        f"return {episode['return']:.2f}"
    )


def describe_episodes(episodes: Sequence[dict[str, Any]]) -> str:
    """Describe the means of some episodes in one line."""
    progress = np.array([e["progress_m"] for e in episodes])
    finished = [e for e in episodes if e["finished"]]
    line = (
        f"{len(episodes)} episodes: {progress.mean():.1f} m on average "
        f"(deviation {progress.std():.1f}), {len(finished)} finished"
    )
    if finished:
        line += f" in {np.mean([e['finish_time'] for e in finished]):.1f} s of game time"
    return line


if __name__ == "__main__":
    sys.exit(main())
