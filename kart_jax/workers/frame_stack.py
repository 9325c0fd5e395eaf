"""Stacks of the newest frames of many environments, where frames arrive one at a time.

Frames are stacked in three more places, each of which has other data: `game/observation.py` (one
race, in the layout that its user asked for; Gymnasium's `FrameStackObservation` knows no layouts,
and stacks the state as well), `ppo/buffer.py` (on a device, at any step of a rollout) and
`imitation/cloning.py` (on the host, at any step of the demonstrations, which have no fixed length).
"""

import sys

import numpy as np
from numpy.typing import NDArray

ROOM = 4
"""Stacks' worth of frames that are stored side by side before memory is taken anew."""


class VectorFrameStack:
    """The last T frames of N environments: each is stored once, and stacks are views of them."""

    def __init__(self, num_envs: int, stack: int, frame_shape: tuple[int, ...]) -> None:
        """Hold `stack` frames of `frame_shape` (H, W, C) for each environment."""
        self._depth = stack
        self._frames = np.zeros((num_envs, (1 + ROOM) * stack, *frame_shape), np.uint8)
        self._before = self._frames
        self._end = stack - 1

    def push(self, frames: NDArray[np.uint8], first: NDArray[np.bool_]) -> None:
        """Add the newest frames `[N, H, W, C]`; where `first`, forget what came before."""
        if first.any() or self._end == self._frames.shape[1]:
            self._move()
            self._frames[first, : self._end] = frames[first][:, None]
        self._frames[:, self._end] = frames
        self._end += 1

    def stacks(self) -> NDArray[np.uint8]:
        """Return stacks `[N, T, H, W, C]`, oldest frame first: read-only, never overwritten."""
        stacks = self._newest(self._depth)
        stacks.flags.writeable = False
        return stacks

    def newest(self) -> NDArray[np.uint8]:
        """Return the last frames `[N, H, W, C]`: read-only, and never overwritten."""
        frames = self._newest(1)[:, 0]
        frames.flags.writeable = False
        return frames

    def stack_ending_with(self, frame: NDArray[np.uint8], env: int) -> NDArray[np.uint8]:
        """Return a new stack `[T, H, W, C]` of `env`, as if `frame` were pushed next."""
        return np.concatenate([self._newest(self._depth - 1)[env], frame[None]])

    def _newest(self, count: int) -> NDArray[np.uint8]:
        return self._frames[:, self._end - count : self._end]

    def _move(self) -> None:
        """Continue in other memory, so that returned stacks never change."""
        last = self._newest(self._depth - 1)
        self._before, self._frames = self._frames, self._unseen_memory()
        self._end = last.shape[1]
        self._frames[:, : self._end] = last

    def _unseen_memory(self) -> NDArray[np.uint8]:
        """Return the memory used before, if no view of it is referenced any more, or new memory."""
        if self._before is not self._frames and sys.getrefcount(self._before) == 2:
            return self._before  # the kernel is slow to hand out new memory
        return np.empty_like(self._frames)
