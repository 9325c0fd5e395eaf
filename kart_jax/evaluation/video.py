"""Videos of driven episodes at a viewing size, with speed, action and value drawn in."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from kart_jax.evaluation.drivers import Step
from kart_jax.files import check_output
from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls
from kart_jax.game.replay import replay
from kart_jax.validation import UserError, check

Image8 = NDArray[np.uint8]

HEIGHT, WIDTH = 400, 640
"""Size of a video; encoders want multiples of 16."""
VIEWS_PER_LINE = 50
"""Views between two lines of progress."""
LOW, HIGH, FRAME = (40, 44, 52), (255, 200, 60), (255, 255, 255)


def check_video(path: Path, race: RaceConfig) -> None:
    """Refuse what cannot be filmed or written, before anything is driven.

    Raises:
        ValueError: says what to do.
    """
    check(path.suffix in (".mp4", ".gif"), "video", str(path), "a file name in .mp4 or .gif")
    check_output("video", path)
    check(race.simulator != "fake", "video", str(path), "left out: the fake game has no views")
    check_encoder(path.suffix)


def check_encoder(suffix: str = ".mp4") -> None:
    """Refuse to continue without an encoder that runs, which is a program; .gif needs none.

    Raises:
        ValueError: says what to do.
    """
    if suffix == ".gif":
        return
    import imageio_ffmpeg

    try:
        imageio_ffmpeg.get_ffmpeg_version()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        named = os.environ.get("IMAGEIO_FFMPEG_EXE")
        raise UserError(
            f"a video needs ffmpeg, which does not run ({error}): "
            + (
                f"IMAGEIO_FFMPEG_EXE names {named}: correct it or unset it"
                if named
                else "pip install --force-reinstall imageio-ffmpeg, or name a .gif file"
            )
        ) from None


def write_video(path: Path, frames: Iterable[Image8], fps: float) -> None:
    """Encode frames uint8 `[H, W, 3]`, by the file's suffix.

    If that fails or is interrupted, nothing is left, and what was there stays.
    """
    unfinished = unfinished_video(path)
    try:
        _encode(unfinished, frames, fps)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_video(path: Path) -> Path:
    """Return where a video is written until it is whole; the encoder goes by the suffix."""
    return path.with_name(f".{path.name}")


def _encode(path: Path, frames: Iterable[Image8], fps: float) -> None:
    import imageio.v2 as imageio

    # GIF counts in milliseconds for a frame.
    options: dict[str, Any] = {"fps": fps} if path.suffix == ".mp4" else {"duration": 1000 / fps}
    writer: Any
    # `with` alone would leave it open after an error, and the encoder would continue to write.
    with warnings.catch_warnings(), closing(imageio.get_writer(path, **options)) as writer:
        # JAX fears for a forked Python; what imageio forks becomes ffmpeg at once.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        for frame in frames:
            writer.append_data(frame)


def print_progress(views: Iterable[Image8], count: int) -> Iterator[Image8]:
    """Yield the `count` views that are filmed, and print the number so far from time to time."""
    print("filming, for which the races are driven again", file=sys.stderr, flush=True)
    for number, view in enumerate(views, 1):
        if number % VIEWS_PER_LINE == 0:
            print(f"filmed {number} of {count} views", file=sys.stderr, flush=True)
        yield view


def film(
    race: RaceConfig,
    steps: Sequence[Step],
    draw: Callable[[Image8, Step], Image8] | None = None,
    height: int = HEIGHT,
    width: int = WIDTH,
) -> Iterator[Image8]:
    """Yield views of a driven episode, uint8 `[height, width, 3]`, by racing it again.

    Args:
        race: what was raced.
        steps: all steps of the episode.
        draw: draws over the view that a step began with; the last view, which begins none,
            is then left out.
        height: of the views in pixels.
        width: of the views in pixels.
    """
    actions = [step.action for step in steps]
    views = replay(race, steps[0].info, actions, height=height, width=width)
    if draw is None:
        yield from views
    else:
        yield from map(draw, views, steps)


def annotate(race: RaceConfig, view: Image8, step: Step) -> Image8:
    """Draw over a view of a race what the driver saw, expected and did."""
    image = Image.fromarray(view)
    draw = ImageDraw.Draw(image)
    if "frames" in step.seen:
        _draw_frame(image, step.seen["frames"][-1, ..., : race.colours])
    lines = [] if step.before is None else [f"{step.before.speed * 3.6:3.0f} km/h"]
    lines += [] if step.value is None else [f"value {step.value:.2f}"]
    font = ImageFont.load_default(18)
    for row, line in enumerate(lines):
        draw.text((12, 8 + 24 * row), line, fill=FRAME, font=font, stroke_width=2, stroke_fill=LOW)
    _draw_controls(draw, step.controls, image.height)
    return np.asarray(image)


def _draw_frame(image: Image.Image, frame: Image8) -> None:
    """The driver's own view `[H, W, 1 or 3]`, in the upper right corner."""
    colours = np.repeat(frame, 3 // frame.shape[-1], axis=-1)
    width = image.width // 4
    height = width * frame.shape[0] // frame.shape[1]
    small = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    image.paste(small, (image.width - width - 8, 8))


def _draw_controls(draw: ImageDraw.ImageDraw, controls: Controls, image_height: int) -> None:
    """A bar for the wheel, a lamp for everything else."""
    left, top, width = 12, image_height - 44, 120
    middle = left + width // 2
    draw.rectangle((left, top, left + width, top + 10), fill=LOW, outline=FRAME)
    end = middle + round(controls.steer * width / 2)
    draw.rectangle((min(middle, end), top, max(middle, end), top + 10), fill=HIGH)
    lamps = {
        "gas": controls.acceleration > 0,
        "brake": controls.brake,
        "drift": controls.drift,
        "nitro": controls.nitro,
        "fire": controls.fire,
    }
    for place, (name, lit) in enumerate(lamps.items()):
        draw.text(
            (left + 52 * place, top + 16),
            name,
            fill=HIGH if lit else (150, 150, 150),
            font=ImageFont.load_default(14),
            stroke_width=2,
            stroke_fill=LOW,
        )
