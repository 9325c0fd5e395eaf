"""What the agent observes: frames and their stack, the state, or both."""

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from kart_jax.game.config import RaceConfig
from kart_jax.game.state import LIMIT, SIZE

Frame = npt.NDArray[np.uint8]

LUMINANCE = np.array([77, 150, 29], np.uint16)
"""Red, green and blue parts of luminance (ITU-R BT.601), in 256ths."""


def observation_space(config: RaceConfig) -> spaces.Space[Any]:
    """Return the space of a configuration's observations."""
    depth, height, width, channels = config.stack, config.height, config.width, config.channels
    shape = {
        "thwc": (depth, height, width, channels),
        "thw": (depth, height, width),
        "hwc": (height, width, depth * channels),
    }[config.layout]
    frames = spaces.Box(0, 255, shape, np.uint8)
    state = spaces.Box(-LIMIT, LIMIT, (SIZE,), np.float32)
    if config.observation == "both":
        return spaces.Dict({"frames": frames, "state": state})
    return frames if config.observation == "frames" else state


def make_frame(
    config: RaceConfig,
    image: Frame,
    depth: npt.NDArray[np.float64] | None = None,
    labels: Frame | None = None,
) -> Frame:
    """Return a frame [H, W, C] of an image [H, W, 3], with metres [H, W] and labels if asked."""
    if config.colour == "grey":
        frame = ((image.astype(np.uint16) @ LUMINANCE) >> 8).astype(np.uint8)[..., None]
    else:
        frame = image
    more = [] if depth is None else [scale_depth(depth)]
    more += [] if labels is None else [labels]
    return np.concatenate([frame, *(channel[..., None] for channel in more)], -1) if more else frame


def scale_depth(metres: npt.NDArray[np.float64]) -> Frame:
    """Return distances on a logarithmic scale, 0 at 1 m to 255 at 1 km and beyond."""
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
        """Return the stack as a new array."""
        if self._layout == "thw":
            return np.stack([frame[..., 0] for frame in self.frames])
        if self._layout == "hwc":
            return np.concatenate(self.frames, axis=-1)
        return np.stack(self.frames)
