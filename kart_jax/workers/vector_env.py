"""Many races at once, as a Gymnasium vector environment and in groups for the trainer."""

import weakref
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
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.actions import check_actions
from kart_jax.validation import check, is_whole
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.frame_stack import VectorFrameStack
from kart_jax.workers.pool import Answer, Lost, Pool, SerialPool
from kart_jax.workers.protocol import MemoryLayout, StepBatch
from kart_jax.workers.supervision import ProcessPool
from kart_jax.workers.tracks import races_of
from kart_jax.workers.worker import MakeEnv, check_importable

Observed = dict[str, NDArray[Any]]
"""What a group observes: `frames` `[G, H, W, C]`, `states` `[G, D]`, or both."""


class KartVectorEnv(VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """`num_envs` races, each in a supervised process of its own.

    Gymnasium's `reset` and `step` return whole frame stacks, states, or both. The trainer's
    `start`, `send` and `receive` return each new frame once, and work in groups: while the
    actions of one are computed, the other simulates. Group g holds environments
    `[g * G, (g + 1) * G)`.

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
        """Start the workers; they begin an episode meanwhile, which `start` or `reset` gets.

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
        space = env.observation_space
        self._stack_shape, state_size = _shapes(space)
        self.num_envs = workers.num_envs
        self.single_observation_space, self.single_action_space = space, env.action_space
        self.observation_space = batch_space(space, self.num_envs)
        self.action_space = batch_space(env.action_space, self.num_envs)
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.spec = env.spec
        self.render_mode = None if self._stack_shape is None else "rgb_array"
        self._colours = race.colours
        env.close()
        groups = workers.group_count()
        size = self.num_envs // groups
        self.groups = [range(g * size, (g + 1) * size) for g in range(groups)]
        self._waiting: set[int] = set()
        self._last: list[Observed] = []
        self._stack: VectorFrameStack | None = None
        self._begun = False
        self._seed: int | None = seed
        self._first = first
        actions = self.single_action_space
        assert actions.shape is not None
        layout = MemoryLayout(
            num_envs=self.num_envs,
            frame_shape=None if self._stack_shape is None else self._stack_shape[1:],
            state_size=state_size,
            action_shape=actions.shape,
            action_dtype=np.dtype(actions.dtype).str,
        )
        self._pool = self._make_pool(replace(race, stack=1), workers, layout, make, seed)
        # The workers end too where the environment is dropped without `close`.
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

    # The trainer's interface

    def start(self, options: dict[str, Any] | None = None) -> list[StepBatch]:
        """Begin an episode everywhere; one batch per group, all of it first frames.

        Raises:
            ValueError: an environment refuses the options; the episodes continue.
        """
        self._check_idle()
        partly = "reset_mask" in (options or {})
        check(not partly, "options", "reset_mask", "left out: ended episodes are followed by new")
        infos = self._pool.reset(self._seed, options)
        self._seed = None
        self._last = [_frozen_copies(self._observed(group)) for group in range(len(self.groups))]
        size = len(self.groups[0])
        no, zeros = np.zeros(size, bool), np.zeros(size, np.float32)
        return [
            StepBatch(
                **_named(observed, "{}"),
                **_named(_zeros(observed), "final_{}"),
                rewards=zeros,
                terminated=no,
                truncated=no,
                first=np.ones(size, bool),
                lost=no,
                reset_infos=dict(enumerate(infos[members.start : members.stop])),
            )
            for observed, members in zip(self._last, self.groups, strict=True)
        ]

    def send(self, group: int, actions: ArrayLike) -> None:
        """Let the `group` step with `actions` `[G, ...]`.

        Raises:
            ClosedEnvironmentError, ResetNeeded, AlreadyPendingCallError: out of order.
            ValueError: wrong shape, or no members of the action space.
        """
        self._check_open()
        if not self._last:
            raise ResetNeeded("call `start` or `reset` before the first step")
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
        batch = self._receive(group)
        self._last[group] = _frozen_copies(self._observed(group))
        return replace(batch, **_named(self._last[group], "{}"))

    def get_states(self) -> list[Any]:
        """Return each environment's state; None where it cannot be saved (the real game)."""
        self._check_idle()
        return self._pool.get_states()

    def set_states(self, states: list[Any]) -> None:
        """Continue where `get_states` was called; entries of None begin an episode."""
        self._check_idle()
        self._pool.set_states(states)

    # Gymnasium's interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode everywhere; read-only observations, as `step`'s, and infos.

        Raises:
            ValueError: `seed` is no single number, of which each environment gets one of its own,
                or an environment refuses the options; the episodes continue.
        """
        if seed is not None:
            one = is_whole(seed) and seed >= 0
            check(
                one, "seed", seed, "one whole number from 0: each environment's is derived from it"
            )
        self._seed = self._seed if seed is None else seed
        infos: dict[str, Any] = {}
        batches = self.start(options)
        for members, batch in zip(self.groups, batches, strict=True):
            for place, info in batch.reset_infos.items():
                infos = self._add_info(infos, info, members[place])
        if self._stack_shape is not None:
            depth, *frame_shape = self._stack_shape
            self._stack = VectorFrameStack(self.num_envs, depth, tuple(frame_shape))
        self._begun = True
        return self._observe(batches), infos

    def step(
        self, actions: ArrayLike
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step everywhere with `actions` `[N, ...]`; observations and the rest.

        Observations are stacks `[N, T, H, W, C]`, states `[N, D]`, or a dictionary of both, and
        are never overwritten. Stacks are read-only views of frames that are stored once.

        Where an episode ended, `infos` has its `final_obs` and `final_info`
        (`{"lost": True}` if its worker was lost).
        """
        self._check_open()
        if not self._begun:
            raise ResetNeeded("call `reset` before the first `step`")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {actions.shape}, not {self.action_space.shape}")
        check_actions(self.single_action_space, actions, 0)  # before any of them steps
        for group, members in enumerate(self.groups):
            self.send(group, actions[members.start : members.stop])
        batches = [self._receive(group) for group in range(len(self.groups))]
        infos: dict[str, Any] = {}
        for members, batch in zip(self.groups, batches, strict=True):
            for place, info in batch.reset_infos.items():
                env = members[place]
                final = {
                    "final_obs": self._final_observation(batch, place, env),
                    "final_info": batch.final_infos.get(place, {"lost": True}),
                }
                infos = self._add_info(self._add_info(infos, final, env), info, env)
        return (
            self._observe(batches),
            _joined(batches, "rewards"),
            _joined(batches, "terminated"),
            _joined(batches, "truncated"),
            infos,
        )

    def call(self, name: str, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        """Return an attribute of each environment, or what it returns when called.

        Raises:
            ValueError: an environment has none, or it fails, or returns what cannot be sent.
        """
        self._check_idle()
        answers = self._pool.call("call", [(name, arguments, options)] * self.num_envs)
        return tuple(value for (value,) in answers)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each environment; see `call`."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of each environment: `values` are a list of one each, or one for all.

        A worker that is lost takes it with it.

        Raises:
            ValueError: the list is of another length, or an environment refuses.
        """
        self._check_idle()
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        check(len(each) == self.num_envs, "values", values, f"one, or a list of {self.num_envs}")
        self._pool.call("set_attr", [(name, value) for value in each])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return each environment's newest frame, RGB uint8 `[H, W, 3]`; None without frames."""
        if self.render_mode is None:
            return None
        if not self._last:
            raise ResetNeeded("call `start` or `reset` before `render`")
        frames = [frame for last in self._last for frame in last["frames"]]
        return tuple(np.repeat(f[..., : self._colours], 3 // self._colours, -1) for f in frames)

    def close_extras(self, **kwargs: Any) -> None:
        """End the workers."""
        self._close_pool()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _observe(self, batches: list[StepBatch]) -> Any:
        """Return the newest observations of all environments, and store them in `_last`."""
        newest: Observed = {}
        if self._stack is not None:
            self._stack.push(_joined(batches, "frames"), _joined(batches, "first"))
            newest["frames"] = self._stack.newest()
        if batches[0].states is not None:
            newest["states"] = np.concatenate([batch.states for batch in batches])
        self._last = [
            {name: array[members.start : members.stop] for name, array in newest.items()}
            for members in self.groups
        ]
        if self._stack is None:
            return newest["states"]
        stacks = self._stack.stacks()
        return {"frames": stacks, "state": newest["states"]} if "states" in newest else stacks

    def _final_observation(self, batch: StepBatch, place: int, env: int) -> Any:
        """The last observation of the episode that ended at a place of a group."""
        state = None if batch.final_states is None else batch.final_states[place]
        if self._stack is None or batch.final_frames is None:
            return state
        stack = self._stack.stack_ending_with(batch.final_frames[place], env)
        return stack if state is None else {"frames": stack, "state": state}

    def _observed(self, group: int, final: bool = False) -> Observed:
        """The group's rows of what is observed; the next step overwrites them."""
        slots, members = self._pool.slots, self.groups[group]
        arrays = {
            "frames": slots.final_frames if final else slots.frames,
            "states": slots.final_states if final else slots.states,
        }
        return {
            name: array[members.start : members.stop]
            for name, array in arrays.items()
            if array is not None
        }

    def _receive(self, group: int) -> StepBatch:
        """As `receive`, but the next step overwrites `frames` and `states`."""
        self._check_open()
        if group not in self._waiting:
            raise NoAsyncCallError(f"nothing was sent to group {group}", "step")
        self._waiting.remove(group)
        return self._batch(group, self._pool.receive(self.groups[group]))

    def _batch(self, group: int, answers: list[Answer]) -> StepBatch:
        """Copy the group's rows, but for what is observed, and sort the answers into them."""
        rows = slice(self.groups[group].start, self.groups[group].stop)
        slots = self._pool.slots
        observed, final = self._observed(group), self._observed(group, final=True)
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
                    array[place] = self._last[group][name][place]
                batch.reset_infos[place] = answer.reset_info
            elif answer is not None:
                for name, array in finals.items():
                    array[place] = final[name][place]
                batch.final_infos[place], batch.reset_infos[place] = answer
        return batch

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the workers have been closed")

    def _check_idle(self) -> None:
        self._check_open()
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


def _named(arrays: Observed, form: str) -> dict[str, Any]:
    """What is observed as fields of a `StepBatch`."""
    return {form.format(name): arrays.get(name) for name in ("frames", "states")}


def _zeros(arrays: Observed) -> Observed:
    """New zeros of the same shapes, whose memory is not touched until it is used."""
    return {name: np.zeros(array.shape, array.dtype) for name, array in arrays.items()}


def _frozen_copies(arrays: Observed) -> Observed:
    """Return read-only copies, which no later step changes."""
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in copies.values():
        array.flags.writeable = False
    return copies


def _joined(batches: list[StepBatch], name: str) -> NDArray[Any]:
    if len(batches) == 1:
        return getattr(batches[0], name)
    return np.concatenate([getattr(batch, name) for batch in batches])
