"""What one step of a group led to, put together from shared memory and the workers' answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kart_jax.workers.pool import Answer, Lost
from kart_jax.workers.protocol import Slots

Rows = dict[str, NDArray[Any]]
"""A group's rows of what is observed: `frames` `[G, H, W, C]`, `states` `[G, D]`, or both."""


@dataclass(frozen=True)
class StepBatch:
    """What one group of G environments returned; read-only, and never overwritten.

    Frames or states are None where `RaceConfig.observation` leaves them out.
    """

    frames: NDArray[np.uint8] | None
    """`[G, H, W, C]`: the newest frames; after an episode's end, the next one's first."""
    final_frames: NDArray[np.uint8] | None
    """`[G, H, W, C]`: the last frame of an episode that ended; zeros elsewhere."""
    states: NDArray[np.float32] | None
    """`[G, D]`: the newest states, as `frames`."""
    final_states: NDArray[np.float32] | None
    """`[G, D]`: the last states of episodes that ended, as `final_frames`."""
    rewards: NDArray[np.float32]
    """`[G]`"""
    terminated: NDArray[np.bool_]
    """`[G]`"""
    truncated: NDArray[np.bool_]
    """`[G]`"""
    first: NDArray[np.bool_]
    """`[G]`: `frames` and `states` hold the first of an episode."""
    lost: NDArray[np.bool_]
    """`[G]`: the worker was lost in this step and replaced: reward 0, truncated, and
    the final frame and state are the last that were seen of the episode."""
    final_infos: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last info of episodes that ended, by place in the group; no lost ones."""
    reset_infos: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The first info of episodes that began, by place in the group."""


def observed_rows(slots: Slots, members: range, final: bool = False) -> Rows:
    """Return the rows of what `members` see, or what they saw last of an episode that ended.

    Their next step overwrites them.
    """
    arrays = {
        "frames": slots.final_frames if final else slots.frames,
        "states": slots.final_states if final else slots.states,
    }
    return {
        name: array[members.start : members.stop]
        for name, array in arrays.items()
        if array is not None
    }


def frozen_copies(rows: Rows) -> Rows:
    """Return read-only copies, which no later step changes."""
    copies = {name: array.copy() for name, array in rows.items()}
    for array in copies.values():
        array.flags.writeable = False
    return copies


def with_observed(batch: StepBatch, rows: Rows) -> StepBatch:
    """Return the batch with other rows of what is observed."""
    return replace(batch, **_named(rows, "{}"))


def first_batch(observed: Rows, infos: Sequence[dict[str, Any]]) -> StepBatch:
    """Return the batch of a group where episodes begin everywhere, with their first infos."""
    size = len(infos)
    no, zeros = np.zeros(size, bool), np.zeros(size, np.float32)
    return StepBatch(
        **_named(observed, "{}"),
        **_named(_zeros(observed), "final_{}"),
        rewards=zeros,
        terminated=no,
        truncated=no,
        first=np.ones(size, bool),
        lost=no,
        reset_infos=dict(enumerate(infos)),
    )


def step_batch(slots: Slots, members: range, answers: list[Answer], last: Rows) -> StepBatch:
    """Return the batch of a step: copies of the rows, but views of what is observed.

    Args:
        slots: the shared memory.
        members: the group's environments.
        answers: those of its workers.
        last: what the group saw before the step.
    """
    rows = slice(members.start, members.stop)
    observed, final = observed_rows(slots, members), observed_rows(slots, members, final=True)
    finals = _zeros(observed)
    batch = StepBatch(
        **_named(observed, "{}"),
        **_named(finals, "final_{}"),
        rewards=slots.rewards[rows].copy(),
        terminated=slots.terminated[rows].copy(),
        truncated=slots.truncated[rows].copy(),
        first=np.array([answer is not None for answer in answers]),
        lost=np.array([isinstance(answer, Lost) for answer in answers]),
    )
    for place in np.flatnonzero(batch.first).tolist():
        answer = answers[place]
        if isinstance(answer, Lost):
            batch.rewards[place], batch.terminated[place] = 0.0, False
            batch.truncated[place] = True
            for name, array in finals.items():
                array[place] = last[name][place]
            batch.reset_infos[place] = answer.reset_info
        elif answer is not None:
            for name, array in finals.items():
                array[place] = final[name][place]
            batch.final_infos[place], batch.reset_infos[place] = answer
    return batch


def _named(rows: Rows, form: str) -> dict[str, Any]:
    """What is observed as fields of a `StepBatch`."""
    return {form.format(name): rows.get(name) for name in ("frames", "states")}


def _zeros(rows: Rows) -> Rows:
    """New zeros of the same shapes, whose memory is not touched until it is used."""
    return {name: np.zeros(array.shape, array.dtype) for name, array in rows.items()}
