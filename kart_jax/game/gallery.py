"""A picture of tracks as the policy sees them: `python -m kart_jax.game.gallery`.

With `--channels`, each track's colours, depth and labels side by side.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kart_jax.cli.command import command
from kart_jax.files import check_output
from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.catalogue import check_installed
from kart_jax.game.env import KartEnv
from kart_jax.game.labels import LABELS, SPACING
from kart_jax.game.observation import Frame
from kart_jax.validation import check

TRACKS = (
    "lighthouse",
    "zengarden",
    "snowtuxpeak",
    "volcano_island",
    "cocoa_temple",
    "candela_city",
)


COLOURS = {
    "background": (0, 0, 0),
    "road": (128, 128, 128),
    "kart": (0, 80, 255),
    "opponent": (255, 0, 255),
    "box": (255, 128, 0),
    "nitro": (0, 255, 255),
    "hazard": (255, 255, 0),
}
"""Of labels: red, green and blue."""


def views(config: RaceConfig, seconds: float) -> list[Frame]:
    """Yield each track's frame [H, W, C], after the game's own driver drove for a while."""
    env = KartEnv(replace(config, driver="ai", colour="rgb", stack=1))
    frames = []
    try:
        for track in config.track:
            env.reset(seed=0, options={"track": track})
            for _ in range(round(seconds / config.action_seconds)):
                observation, _, terminated, truncated, _ = env.step(None)
                if terminated or truncated:
                    break
            frames.append(observation[-1])
    finally:
        env.close()
    return frames


def channels(frame: Frame) -> list[Frame]:
    """Return the colours of a frame [H, W, 3 to 5], its depth and its labels: [H, W, 3] each."""
    pictures = [frame[..., :3]]
    if frame.shape[-1] > 3:
        pictures.append(frame[..., 3:4].repeat(3, axis=-1))
    if frame.shape[-1] > 4:
        palette = np.array([COLOURS[label] for label in LABELS], np.uint8)
        pictures.append(palette[frame[..., 4] // SPACING])
    return pictures


def tile(frames: list[Frame], columns: int, scale: int, gap: int = 4) -> Frame:
    """Put frames in rows on white, each pixel enlarged to a square."""
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
    parser.add_argument("--channels", action="store_true", help="draw depth and labels too")
    parser.add_argument("--karts", type=int, default=1, help="karts in the race")
    parser.add_argument("--height", type=int, default=72, help="of a frame, in pixels")
    parser.add_argument("--width", type=int, default=96, help="of a frame, in pixels")
    parser.add_argument("--scale", type=int, default=3, help="screen pixels for one of a frame")
    parser.add_argument("--seconds", type=float, default=8.0, help="game seconds driven before")
    parser.add_argument("--output", type=Path, default=Path("docs/images/tracks.png"))
    options = parser.parse_args(arguments)
    config = RaceConfig(
        track=tuple(options.tracks),
        karts=options.karts,
        start_position=options.karts,
        height=options.height,
        width=options.width,
        depth=options.channels,
        labels=options.channels,
    )
    check_installed(config)
    check(1 <= options.scale <= 100, "scale", options.scale, "1 to 100")
    check_output("output", options.output)
    frames = views(config, options.seconds)
    pictures = [picture for frame in frames for picture in channels(frame)]
    picture = tile(pictures, columns=3, scale=options.scale)
    Image.fromarray(picture).save(options.output)
    print(f"wrote {options.output}: {', '.join(options.tracks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
