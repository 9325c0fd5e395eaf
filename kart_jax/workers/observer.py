"""A group's observations, assembled from its step batches."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from kart_jax.workers.batch import StepBatch
from kart_jax.workers.frame_stack import VectorFrameStack

VectorAct = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]
"""Takes a group's observations by name (`frames [G, T, H, W, C]`, `state [G, D]`) and returns
actions `[G, ...]`."""


class Observer:
    """The newest observations of one group of G environments."""

    def __init__(self, batch: StepBatch, stack: int) -> None:
        """Take the batch that begins the group's episodes; `stack` frames make an observation."""
        self._stack: VectorFrameStack | None = None
        if batch.frames is not None:
            self._stack = VectorFrameStack(len(batch.first), stack, batch.frames.shape[1:])
        self.push(batch)

    def push(self, batch: StepBatch) -> None:
        """Add a step."""
        self._states = batch.states
        if self._stack is not None and batch.frames is not None:
            self._stack.push(batch.frames, batch.first)

    def observation(self) -> dict[str, NDArray[Any]]:
        """Return `frames [G, T, H, W, C]`, `state [G, D]`, or both; they are never overwritten."""
        return self._named(None if self._stack is None else self._stack.stacks())

    def newest(self) -> dict[str, NDArray[Any]]:
        """Return the newest `frames [G, H, W, C]`, `state [G, D]`, or both."""
        return self._named(None if self._stack is None else self._stack.newest())

    def _named(self, frames: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
        named = {} if frames is None else {"frames": frames}
        return named if self._states is None else {**named, "state": self._states}
