"""Many races at once, as a Gymnasium vector environment."""

from typing import Any, Self

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.actions import check_actions
from kart_jax.validation import check, is_whole
from kart_jax.workers.batch import StepBatch
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.frame_stack import VectorFrameStack
from kart_jax.workers.groups import Rows, WorkerGroups
from kart_jax.workers.worker import MakeEnv


class KartVectorEnv(VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """`num_envs` races, each in a supervised process of its own: `WorkerGroups` for Gymnasium.

    `reset` and `step` return whole frame stacks, states, or both.

    An ended episode is followed by the next one's first frame in the same step.

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
        """Start the workers; `reset` gets the episodes that they begin.

        The arguments, and what is raised, are those of `WorkerGroups`.
        """
        self._workers = groups = WorkerGroups(race, workers, seed, make, first)
        self.num_envs = groups.num_envs
        self.single_observation_space = groups.single_observation_space
        self.single_action_space = groups.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {**groups.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.spec = groups.spec
        self.render_mode = None if groups.stack_shape is None else "rgb_array"
        self._colours = race.colours
        self._stack: VectorFrameStack | None = None
        self._begun = False

    @property
    def losses(self) -> int:
        """Workers lost and replaced so far."""
        return self._workers.losses

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
        infos: dict[str, Any] = {}
        batches = self._workers.start(seed=seed, options=options)
        for members, batch in zip(self._workers.groups, batches, strict=True):
            for place, info in batch.reset_infos.items():
                infos = self._add_info(infos, info, members[place])
        if self._workers.stack_shape is not None:
            depth, *frame_shape = self._workers.stack_shape
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
        self._workers.check_open()
        if not self._begun:
            raise ResetNeeded("call `reset` before the first `step`")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {actions.shape}, not {self.action_space.shape}")
        check_actions(self.single_action_space, actions, 0)  # before any of them steps
        groups = self._workers.groups
        for group, members in enumerate(groups):
            self._workers.send(group, actions[members.start : members.stop])
        batches = [self._workers.receive_view(group) for group in range(len(groups))]
        infos: dict[str, Any] = {}
        for members, batch in zip(groups, batches, strict=True):
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
        answers = self._workers.call("call", [(name, arguments, options)] * self.num_envs)
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
        self._workers.check_open()
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        check(len(each) == self.num_envs, "values", values, f"one, or a list of {self.num_envs}")
        self._workers.call("set_attr", [(name, value) for value in each])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return each environment's newest frame, RGB uint8 `[H, W, 3]`; None without frames."""
        if self.render_mode is None:
            return None
        if self._stack is None:
            raise ResetNeeded("call `reset` before `render`")
        frames = self._stack.newest()[..., : self._colours]
        return tuple(np.repeat(frame, 3 // self._colours, axis=-1) for frame in frames)

    def close_extras(self, **kwargs: Any) -> None:
        """End the workers."""
        self._workers.close()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _observe(self, batches: list[StepBatch]) -> Any:
        """Return the newest observations of all environments, and let the workers keep them."""
        newest: Rows = {}
        if self._stack is not None:
            self._stack.push(_joined(batches, "frames"), _joined(batches, "first"))
            newest["frames"] = self._stack.newest()
        if batches[0].states is not None:
            newest["states"] = np.concatenate([batch.states for batch in batches])
        for group, members in enumerate(self._workers.groups):
            rows = {name: array[members.start : members.stop] for name, array in newest.items()}
            self._workers.keep_last(group, rows)
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


def _joined(batches: list[StepBatch], name: str) -> NDArray[Any]:
    if len(batches) == 1:
        return getattr(batches[0], name)
    return np.concatenate([getattr(batch, name) for batch in batches])
