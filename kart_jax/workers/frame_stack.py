"""Stacks of the newest frames, put together where frames arrive one at a time."""

import numpy as np
from numpy.typing import NDArray


class FrameStack:
    """The last T frames of N environments, in a ring: each frame is stored once."""

    def __init__(self, num_envs: int, stack: int, frame_shape: tuple[int, ...]) -> None:
        """Hold `stack` frames of `frame_shape` (H, W, C) for each environment."""
        self._ring = np.zeros((stack, num_envs, *frame_shape), np.uint8)
        self._newest = 0

    def push(self, frames: NDArray[np.uint8], first: NDArray[np.bool_]) -> None:
        """Add the newest frames `[N, H, W, C]`; where `first`, forget what came before."""
        self._newest = (self._newest + 1) % len(self._ring)
        self._ring[self._newest] = frames
        if first.any():
            self._ring[:, first] = frames[first]

    def stacks(self) -> NDArray[np.uint8]:
        """New array `[N, T, H, W, C]`, the oldest frame first."""
        depth, num_envs, *frame_shape = self._ring.shape
        stacks = np.empty((num_envs, depth, *frame_shape), np.uint8)
        for age in range(depth):
            stacks[:, -1 - age] = self._ring[self._newest - age]
        return stacks

    def stack_ending_with(self, frame: NDArray[np.uint8], env: int) -> NDArray[np.uint8]:
        """New array `[T, H, W, C]` of environment `env`, were `frame` pushed next."""
        order = self._newest + 1 + np.arange(len(self._ring))
        stack = self._ring[order % len(self._ring), env]
        return np.concatenate([stack[1:], frame[None]])
