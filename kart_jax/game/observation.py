"""What the agent sees: frames, their stack, and the optional state vector."""

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from kart_jax.game.centreline import CentreLine, Place
from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.race import KartState

Frame = npt.NDArray[np.uint8]

LUMINANCE = np.array([77, 150, 29], np.uint16)
"""Red, green and blue parts of luminance (ITU-R BT.601), in 256ths."""

STATE = ("speed", "heading_sin", "heading_cos", "lateral", "half_width")
"""First entries of the state vector: metres a second; the kart's heading less the road's;
metres right of the centre line; metres from the centre line to the road's edge."""
AHEAD = (10.0, 25.0, 50.0, 100.0)
"""Metres ahead at which the state vector tells how far the road has turned (radians,
right is positive); its last entry is the metres to the next turn of 30 degrees, 200 at most."""


def observation_space(config: RaceConfig) -> spaces.Space[Any]:
    """The space of a configuration's observations."""
    depth, height, width, channels = config.stack, config.height, config.width, config.channels
    shape = {
        "thwc": (depth, height, width, channels),
        "thw": (depth, height, width),
        "hwc": (height, width, depth * channels),
    }[config.layout]
    frames = spaces.Box(0, 255, shape, np.uint8)
    if not config.state_vector:
        return frames
    size = len(STATE) + len(AHEAD) + 1
    state = spaces.Box(-np.inf, np.inf, (size,), np.float32)
    return spaces.Dict({"frames": frames, "state": state})


def make_frame(
    config: RaceConfig,
    image: Frame,
    depth: npt.NDArray[np.float64] | None = None,
    labels: Frame | None = None,
) -> Frame:
    """One frame [H, W, C] of an image [H, W, 3] and, if asked for, metres [H, W] and labels."""
    if config.colour == "grey":
        frame = ((image.astype(np.uint16) @ LUMINANCE) >> 8).astype(np.uint8)[..., None]
    else:
        frame = image
    more = [] if depth is None else [scale_depth(depth)]
    more += [] if labels is None else [labels]
    return np.concatenate([frame, *(channel[..., None] for channel in more)], -1) if more else frame


def scale_depth(metres: npt.NDArray[np.float64]) -> Frame:
    """Distances on a logarithmic scale, 0 at 1 m to 255 at 1 km and beyond."""
    return np.round(np.log(metres) * (255 / math.log(1e3))).clip(0, 255).astype(np.uint8)


class FrameStack:
    """The newest frames in the configured layout."""

    def __init__(self, config: RaceConfig) -> None:
        """Start with no frame: `fill` comes first."""
        self._layout = config.layout
        self.frames: deque[Frame] = deque(maxlen=config.stack)
        """`[H, W, C]` each, the oldest first; they must not change any more."""

    def fill(self, frame: Frame) -> None:
        """Begin an episode: the stack holds its first frame [H, W, C] throughout."""
        self.frames.extend([frame] * (self.frames.maxlen or 1))

    def push(self, frame: Frame) -> None:
        """Drop the oldest frame and take a new one [H, W, C]."""
        self.frames.append(frame)

    def observe(self) -> Frame:
        """The stack as a new array; one of a single frame shares its memory."""
        if len(self.frames) == 1 and self._layout == "thwc":
            return self.frames[0][None]
        if self._layout == "thw":
            return np.stack([frame[..., 0] for frame in self.frames])
        if self._layout == "hwc":
            return np.concatenate(self.frames, axis=-1)
        return np.stack(self.frames)


def state_vector(kart: KartState, place: Place, line: CentreLine) -> npt.NDArray[np.float32]:
    """The state vector described by `STATE` and `AHEAD`: float32."""
    error = kart.heading - place.direction
    turns = [line.turn(place.along, ahead) for ahead in AHEAD]
    half_width = float(line.widths[place.node]) / 2
    own = (kart.speed, math.sin(error), math.cos(error), place.lateral, half_width)
    return np.array([*own, *turns, line.to_next_turn(place.along)], np.float32)
