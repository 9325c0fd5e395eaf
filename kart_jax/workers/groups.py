"""Races in groups of workers: while the actions of one group are computed, the other simulates."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from gymnasium.error import (
    AlreadyPendingCallError,
    ClosedEnvironmentError,
    NoAsyncCallError,
    ResetNeeded,
)
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import ArrayLike

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.actions import check_actions
from kart_jax.validation import check
from kart_jax.workers.batch import (
    Rows,
    StepBatch,
    first_batch,
    frozen_copies,
    observed_rows,
    step_batch,
    with_observed,
)
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.pool import Pool, SerialPool
from kart_jax.workers.protocol import MemoryLayout
from kart_jax.workers.supervision import ProcessPool
from kart_jax.workers.tracks import races_of
from kart_jax.workers.worker import MakeEnv, check_importable


class WorkerGroups:
    """`num_envs` races, each in a supervised process of its own, which step in groups.

    Group g holds the environments `groups[g]`: `[g * G, (g + 1) * G)`. Each new frame is returned
    once; `Observer` stacks them.

    An ended episode is followed by the next one's first frame in the same step. Infos
    are sent where episodes begin and end; per step only a byte is.

    Where it has as many environments as `race` has tracks, and without frames always, each keeps
    one track: they take those of `race` in turn.
    """

    def __init__(
        self,
        race: RaceConfig,
        workers: WorkerConfig,
        seed: int,
        make: MakeEnv = make_env,
        first: int = 0,
    ) -> None:
        """Start the workers; they begin an episode meanwhile, which `start` gets.

        Args:
            race: what each environment runs.
            workers: how many, and how they are watched.
            seed: at least 0; each environment's own seed is derived from it.
            make: makes an environment; an importable function.
            first: number of the first environment, where other processes of the same run
                have those before it.

        Raises:
            ValueError: `race` is wrong, its frames are not uint8 `[T, H, W, C]`, or its states not
                float32 `[D]`.
            MemoryError: there is too little shared memory for the frames.
        """
        env = make(races_of(race, first, workers.num_envs)[0])
        self.single_observation_space = env.observation_space
        self.single_action_space = actions = env.action_space
        self.metadata, self.spec = env.metadata, env.spec
        env.close()
        self.stack_shape, state_size = _shapes(self.single_observation_space)
        """(T, H, W, C) of an environment's frame stack; None without frames."""
        self.num_envs = workers.num_envs
        count = workers.group_count()
        size = self.num_envs // count
        self.groups = [range(g * size, (g + 1) * size) for g in range(count)]
        self._waiting: set[int] = set()
        self._last: list[Rows] = []
        self._seed: int | None = seed
        self._first = first
        assert actions.shape is not None
        layout = MemoryLayout(
            num_envs=self.num_envs,
            frame_shape=None if self.stack_shape is None else self.stack_shape[1:],
            state_size=state_size,
            action_shape=actions.shape,
            action_dtype=np.dtype(actions.dtype).str,
        )
        self._pool = self._make_pool(replace(race, stack=1), workers, layout, make, seed)
        # The workers end too where the groups are dropped without `close`.
        self._close_pool = weakref.finalize(self, self._pool.close)

    def _make_pool(
        self,
        race: RaceConfig,
        workers: WorkerConfig,
        layout: MemoryLayout,
        make: MakeEnv,
        seed: int,
    ) -> Pool:
        if workers.workers == "serial":
            return SerialPool(make, race, layout, self._first)
        check_importable(make)
        return ProcessPool(make, race, layout, workers, seed, self._first)

    @property
    def losses(self) -> int:
        """Workers lost and replaced so far."""
        return self._pool.losses

    def start(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> list[StepBatch]:
        """Begin an episode everywhere; one batch per group, all of it first frames.

        Args:
            seed: as that of the workers, which it replaces.
            options: of each environment's `reset`.

        Raises:
            ValueError: an environment refuses the options; the episodes continue.
        """
        self._seed = self._seed if seed is None else seed
        self._check_idle()
        partly = "reset_mask" in (options or {})
        check(not partly, "options", "reset_mask", "left out: ended episodes are followed by new")
        infos = self._pool.reset(self._seed, options)
        self._seed = None
        slots = self._pool.slots
        self._last = [frozen_copies(observed_rows(slots, members)) for members in self.groups]
        return [
            first_batch(observed, infos[members.start : members.stop])
            for observed, members in zip(self._last, self.groups, strict=True)
        ]

    def send(self, group: int, actions: ArrayLike) -> None:
        """Let the `group` step with `actions` `[G, ...]`.

        Raises:
            ClosedEnvironmentError, ResetNeeded, AlreadyPendingCallError: out of order.
            ValueError: wrong shape, or no members of the action space.
        """
        self.check_open()
        if not self._last:
            raise ResetNeeded("call `start` before the first step")
        if group in self._waiting:
            raise AlreadyPendingCallError(f"group {group} has not been received yet", "step")
        members = self.groups[group]
        slots = self._pool.slots.actions[members.start : members.stop]
        actions = np.asarray(actions)
        if actions.shape != slots.shape:
            raise ValueError(f"actions have shape {actions.shape}; a group takes {slots.shape}")
        check_actions(self.single_action_space, actions, members.start)
        np.copyto(slots, actions, casting="same_kind")
        self._pool.send(members)
        self._waiting.add(group)

    def receive(self, group: int) -> StepBatch:
        """Return what the group's step led to.

        Raises:
            ClosedEnvironmentError, NoAsyncCallError: out of order.
            WorkersLostError: one environment has lost too many workers in a row.
        """
        batch = self.receive_view(group)
        self._last[group] = frozen_copies(observed_rows(self._pool.slots, self.groups[group]))
        return with_observed(batch, self._last[group])

    def receive_view(self, group: int) -> StepBatch:
        """As `receive`, but the group's next step overwrites `frames` and `states`.

        Give copies of them to `keep_last` before that step.
        """
        self.check_open()
        if group not in self._waiting:
            raise NoAsyncCallError(f"nothing was sent to group {group}", "step")
        self._waiting.remove(group)
        members = self.groups[group]
        answers = self._pool.receive(members)
        return step_batch(self._pool.slots, members, answers, self._last[group])

    def keep_last(self, group: int, rows: Rows) -> None:
        """Store what a group saw last: the end of an episode whose worker is lost in a step."""
        self._last[group] = rows

    def get_states(self) -> list[Any]:
        """Return each environment's state; None where it cannot be saved (the real game)."""
        self._check_idle()
        return self._pool.get_states()

    def set_states(self, states: list[Any]) -> None:
        """Continue where `get_states` was called; entries of None begin an episode."""
        self._check_idle()
        self._pool.set_states(states)

    def call(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `EnvRunner` returns, with `arguments` of each environment.

        Raises:
            ValueError: an environment cannot do it.
        """
        self._check_idle()
        return self._pool.call(command, arguments)

    def check_open(self) -> None:
        """Raise `ClosedEnvironmentError` after `close`."""
        if not self._close_pool.alive:
            raise ClosedEnvironmentError("the workers have been closed")

    def close(self) -> None:
        """End the workers."""
        self._close_pool()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _check_idle(self) -> None:
        self.check_open()
        if self._waiting:
            raise AlreadyPendingCallError("receive what was sent first", "step")


def _shapes(space: Space[Any]) -> tuple[tuple[int, ...] | None, int | None]:
    """The shape of a frame stack, (T, H, W, C), and the size of a state; None where there is none.

    Raises:
        ValueError: there is anything else to observe.
    """
    parts = dict(space) if isinstance(space, Dict) else {"": space}
    shapes = {
        (part.dtype, len(part.shape)): part.shape
        for part in parts.values()
        if isinstance(part, Box)
    }
    stack = shapes.pop((np.dtype(np.uint8), 4), None)
    state = shapes.pop((np.dtype(np.float32), 1), None)
    if len(parts) != (stack is not None) + (state is not None):
        raise ValueError(f"workers need frames uint8 [T, H, W, C], states float32 [D], not {space}")
    return stack, None if state is None else state[0]
