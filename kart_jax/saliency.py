"""`python -m kart_jax.saliency`: film where a policy looks while it drives.

The brighter a place, the more the policy's outputs would change if it were blurred.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from kart_jax.cli.command import command, program
from kart_jax.evaluation.drivers import Step, add_values, drive_episodes, make_act, race_from_grid
from kart_jax.evaluation.trials import plain_episode
from kart_jax.evaluation.video import (
    Image8,
    annotate,
    check_video,
    film,
    print_progress,
    write_video,
)
from kart_jax.files import expand_paths
from kart_jax.game.config import WIDTH, RaceConfig
from kart_jax.game.engine.catalogue import check_installed
from kart_jax.play import describe_episode
from kart_jax.validation import check, check_seed

HEIGHT = 480
"""Height of the video in pixels; it is as wide as the policy's own frames are in proportion."""
DARK = 0.5
"""Brightness of what the policy does not look at."""
GLOW = np.array([255.0, 110.0, 20.0])
"""The colour of what it looks at most."""


@dataclass(frozen=True)
class SaliencyConfig:
    """Which policy to look at, and where it drives."""

    policy: Annotated[str, tyro.conf.Positional]
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name."""
    video: Path = Path("saliency.mp4")
    """The .mp4 or .gif file to write."""
    of: Literal["actions", "value"] = "actions"
    """What a place matters to: what the policy does, or what it expects."""
    rows: int = 12
    """Places that are blurred, from top to bottom; more are finer and slower."""
    track: tuple[str, ...] | None = None
    """Tracks to drive on, one after another; by default those of the training."""
    episodes: int = 1
    """Greedy episodes to drive."""
    opponents: int = 0
    """Karts driven by the game."""
    seed: int = 0
    """Seeds the episodes."""

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        expand_paths(self)
        check(2 <= self.rows <= 100, "rows", self.rows, "2 to 100")
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        check(0 <= self.opponents <= 19, "opponents", self.opponents, "0 to 19")
        check_seed("seed", self.seed, self.episodes)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Drive, look and film as the command line says."""
    config = tyro.cli(SaliencyConfig, args=arguments, prog=program("saliency"))
    for line in film_saliency(config):
        print(line, flush=True)
    return 0


def film_saliency(config: SaliencyConfig) -> Iterator[str]:
    """Write the video; yield lines of progress.

    Raises:
        ValueError: a track or a value is not available.
        CheckpointError: there is no such policy.
    """
    from kart_jax.policy.observation import FRAMES
    from kart_jax.policy.occlusion import Occlusion
    from kart_jax.run_folder.loading import load_policy

    policy = load_policy(config.policy)
    occlusion = Occlusion(policy, config.rows)
    race = race_from_grid(policy, "policy", {"track": config.track}, config.opponents)
    check_installed(race)
    check_video(config.video, race)
    driven = []
    act = make_act("policy", race, policy, config.seed)
    for steps in drive_episodes(race, act, config.episodes, config.seed):
        driven.append(add_values(policy, steps))
        yield describe_episode(plain_episode(steps[-1].info["summary"]))
    count = occlusion.grid[0] * occlusion.grid[1]
    total = sum(map(len, driven))
    yield f"blurring {count} places in each of {total:,} observations"
    number = ("actions", "value").index(config.of)
    heats = [[occlusion.changes(step.seen[FRAMES])[number] for step in steps] for steps in driven]
    most = float(np.quantile(np.concatenate(heats), 0.995))
    height, width = view_size(race)

    def views() -> Iterator[Image8]:
        for steps, of_steps in zip(driven, heats, strict=True):
            left = iter(of_steps)

            def draw(
                view: Image8, step: Step, left: Iterator[NDArray[np.float32]] = left
            ) -> Image8:
                return annotate(race, light_up(view, next(left), most), step)

            yield from film(race, steps, draw, height, width)

    write_video(config.video, print_progress(views(), total), 1 / race.action_seconds)
    yield str(config.video)


def view_size(race: RaceConfig) -> tuple[int, int]:
    """Return height and width of a view of the frame's shape, multiples of 16 for encoders."""
    scale = min(HEIGHT / race.height, WIDTH / race.width)
    height, width = (16 * max(round(scale * size / 16), 1) for size in (race.height, race.width))
    return height, width


def light_up(view: Image8, heat: NDArray[np.float32], most: float) -> Image8:
    """Return a view `[H, W, 3]` in dark grey, with a glow where `heat [rows, columns]` is high.

    `most` is the heat of the brightest glow.
    """
    # The root shows small changes too, which are squares.
    shares = np.sqrt(np.clip(heat / max(most, 1e-12), 0, 1)).astype(np.float32)
    height, width = view.shape[:2]
    smooth = Image.fromarray(shares).resize((width, height), Image.Resampling.BICUBIC)
    glow = np.clip(np.asarray(smooth), 0, 1)[..., None]
    grey = view.mean(axis=-1, keepdims=True)
    picture = DARK * grey * (1 - glow) + glow * (0.55 * view + 0.45 * GLOW)
    return picture.astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
