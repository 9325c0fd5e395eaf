"""A picture of tracks as the policy sees them: `python -m kart_jax.game.gallery`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kart_jax.checks import check
from kart_jax.commands import check_output, command
from kart_jax.game.catalogue import check_installed
from kart_jax.game.config import RaceConfig
from kart_jax.game.env import KartEnv
from kart_jax.game.observation import Frame

TRACKS = (
    "lighthouse",
    "zengarden",
    "snowtuxpeak",
    "volcano_island",
    "cocoa_temple",
    "candela_city",
)


def views(config: RaceConfig, seconds: float) -> list[Frame]:
    """Each track's frame [H, W, 3] after the game's own driver drove for some game seconds."""
    env = KartEnv(replace(config, driver="ai", colour="rgb", stack=1))
    frames = []
    try:
        for track in config.track:
            env.reset(seed=0, options={"track": track})
            for _ in range(round(seconds / config.action_seconds)):
                observation, *_ = env.step(env.action_space.sample())
            frames.append(observation[-1])
    finally:
        env.close()
    return frames


def tile(frames: list[Frame], columns: int, scale: int, gap: int = 4) -> Frame:
    """Frames in rows on white, each pixel enlarged to a square."""
    large = [frame.repeat(scale, 0).repeat(scale, 1) for frame in frames]
    height, width = large[0].shape[0] + gap, large[0].shape[1] + gap
    rows = -(-len(large) // columns)
    picture = np.full((rows * height - gap, columns * width - gap, 3), 255, np.uint8)
    for number, frame in enumerate(large):
        top, left = number // columns * height, number % columns * width
        picture[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return picture


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m kart_jax.game.gallery", description=__doc__)
    parser.add_argument("--tracks", nargs="+", default=list(TRACKS))
    parser.add_argument("--height", type=int, default=48, help="of a frame, in pixels")
    parser.add_argument("--width", type=int, default=64, help="of a frame, in pixels")
    parser.add_argument("--scale", type=int, default=4, help="screen pixels for one of a frame")
    parser.add_argument("--seconds", type=float, default=8.0, help="game seconds driven before")
    parser.add_argument("--output", type=Path, default=Path("docs/images/tracks.png"))
    options = parser.parse_args(arguments)
    config = RaceConfig(track=tuple(options.tracks), height=options.height, width=options.width)
    check_installed(config)
    check(1 <= options.scale <= 100, "scale", options.scale, "1 to 100")
    check_output("output", options.output)
    picture = tile(views(config, options.seconds), columns=3, scale=options.scale)
    Image.fromarray(picture).save(options.output)
    print(f"wrote {options.output}: {', '.join(options.tracks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
