"""The game alone, drawn by each OpenGL driver of the machine, in 1 to 16 processes."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bare_game import BareGame
from kart_jax.config import PRESETS
from kart_jax.game.engine.data import find_data
from kart_jax.game.engine.rendering import check_graphics
from kart_jax.validation import UserError

VARIABLE = "__EGL_VENDOR_LIBRARY_FILENAMES"
FOLDERS = (
    "/usr/local/nvidia/share/glvnd/egl_vendor.d",
    "/etc/glvnd/egl_vendor.d",
    "/usr/share/glvnd/egl_vendor.d",
)
"""Where drivers of EGL say that they are there."""
SIZES = ((128, 96), (64, 48), (600, 400))
"""Width, height."""
COUNTS = (16, 8, 4, 1)
SMALL_COUNTS = (2, 1)
SECONDS = 1.0
STEPS = 10
"""Between two looks at the clock."""


def check_game() -> None:
    """Refuse a machine where the game cannot draw.

    Raises:
        UserError: says what is missing.
    """
    if find_data() is None:
        raise UserError("no game data: python -m kart_jax.data")
    check_graphics(window=False)


def drivers() -> dict[str, dict[str, str]]:
    """Return the environment that selects each driver, by its name."""
    named = os.environ.get(VARIABLE, "").split(":")
    files = [Path(file) for file in named if file]
    files += [file for folder in FOLDERS for file in Path(folder).glob("*.json")]
    found = {file.stem: {VARIABLE: str(file)} for file in reversed(files)}
    for name, environment in found.items():
        if "mesa" in name:  # in software, whatever the card
            environment["LIBGL_ALWAYS_SOFTWARE"] = "1"
    return dict(sorted(found.items())) or {"default": {}}


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each driver, size and number of processes."""
    check_game()
    for width, height in SIZES[:1] if small else SIZES:
        for name, environment in drivers().items():
            known = {"driver": name, "size": f"{width} x {height}"}
            try:
                yield from _rates(known, width, height, small, environment)
            except (RuntimeError, OSError) as error:
                yield known | {"failed": str(error)}


def _rates(
    known: dict[str, Any], width: int, height: int, small: bool, environment: dict[str, str]
) -> Iterator[dict[str, Any]]:
    race = replace(PRESETS["gpu"].race, width=width, height=height)
    counts = SMALL_COUNTS if small else COUNTS
    with closing(BareGame(race, max(counts), **environment)) as game:
        game.step(_steer(max(counts)))
        for count in counts:
            rate = _frames_per_s(game, count, 0.5 if small else SECONDS)
            yield known | {
                "processes": count,
                "frames_per_s": rate,
                "each": rate / count,
                "drawn by": game.renderer,
            }


def _frames_per_s(game: BareGame, count: int, seconds: float) -> float:
    frames, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        game.step(_steer(count))
        frames += STEPS * count
    return frames / elapsed


def _steer(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(3, size=(STEPS, count, 2))
