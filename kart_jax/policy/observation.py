"""Observations of environments and inputs of networks: frames, a state, or both, by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

FRAMES, STATE = "frames", "state"

Seen = Mapping[str, Any]
"""One step of B environments: `frames [B, H, W, C]` uint8, `state [B, D]` float32, or both."""
Observation = Mapping[str, Any]
"""A network's input: `frames [N, S, H, W, C]` uint8, `state [N, D]` float32, or both."""


def example(observation_shape: tuple[int, int, int, int] | None, state_size: int) -> dict[str, Any]:
    """Return one observation of zeros, `[1, ...]`, to create a network's variables with.

    Args:
        observation_shape: `(S, H, W, C)` of a frame stack, or None without frames.
        state_size: D, or 0 without a state.
    """
    observation: dict[str, Any] = {}
    if observation_shape is not None:
        observation[FRAMES] = np.zeros((1, *observation_shape), np.uint8)
    if state_size:
        observation[STATE] = np.zeros((1, state_size), np.float32)
    return observation
