"""The learner: PPO's functions compiled for all devices, and the state that they change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.serialization import from_state_dict, to_state_dict

from kart_jax.policy.observation import Seen
from kart_jax.ppo import buffer
from kart_jax.ppo.advantages import RewardScale
from kart_jax.ppo.agent import Variables
from kart_jax.ppo.buffer import Rollout
from kart_jax.ppo.update import (
    KEY_ACT,
    PPO,
    Batch,
    Metrics,
    Outcomes,
    Schedules,
    TrainState,
)
from kart_jax.training.devices import Devices

_REST = ("optimiser", "reward_scale", "update", "key")
"""Fields of the training state, beside the network's variables, that outlive an update."""


class NonFiniteError(RuntimeError):
    """A loss or a gradient was not finite; the state is that before the update."""

    def __init__(self, update: int, statistics: dict[str, Any]) -> None:
        super().__init__(
            f"a loss or gradient of update {update} is not finite. The last good checkpoint "
            "remains; a lower learning rate, or float32, is the usual remedy."
        )
        self.statistics = statistics


@struct.dataclass
class Actor:
    """The part of the state that acting needs."""

    variables: Any
    key: jax.Array
    """uint32: data of a random key; pmap copies keys themselves over the host, if there are
    several processes."""


class Learner:
    """Holds the training state on the devices and takes it through updates.

    `state` is that after the last finished update; an update works on a copy, so that it
    can be dropped at any moment, and the policy can act meanwhile.
    """

    def __init__(
        self, ppo: PPO, devices: Devices, seed: int, teacher: Variables | None = None
    ) -> None:
        """Make a new state; `teacher` has the variables of the teacher's network, on the host."""
        self.ppo = ppo
        self.devices = devices
        self._act = devices.map(self._act_on_device, donate=(1,))
        self._final_values = devices.map(self._final_values_on_device, donate=(1,))
        self._prepare = devices.map_together(self._prepare_on_device, donate=(1,))
        self._gradient_step = devices.map_together(ppo.gradient_step, donate=(0,))
        self._refresh = devices.map_together(ppo.refresh_statistics, donate=(0,))
        self._act_key = devices.map(lambda s, lag: jax.random.key_data(s.key_for(KEY_ACT, lag)))
        self._create = devices.map(self._create_on_device)
        self._head = devices.map(lambda rollout: jax.tree.map(jnp.copy, buffer.head(rollout)))
        self._load_head = devices.map(buffer.with_head, donate=(0,))
        self.state: TrainState = devices.replicate(
            jax.jit(ppo.create)(jax.random.key(seed), ppo.agent.example())
        )
        self._teacher = None if teacher is None else devices.replicate(teacher)
        self._on_host: tuple[TrainState, tuple[Any, Any]] | None = None
        """A state and its copy on the host."""

    def create_rollouts(self, num_envs: int, groups: int, offset: int = 0) -> list[Rollout]:
        """Return empty rollouts on the devices, one for each group of workers.

        `offset` is the number of environments in the processes before this one.
        """
        numbers = np.split(np.arange(offset, offset + num_envs, dtype=np.int32), groups)
        return [self._create(self.devices.shard(n)) for n in numbers]

    def actor(self, lag: int = 0) -> Actor:
        """Return the policy as it is now, and the random key of one rollout.

        `lag` counts the updates that have begun and are not finished: their rollouts, which the
        same policy collected, had keys of their own.
        """
        lags = self.devices.replicate(np.int32(lag))
        return Actor(self.state.variables, self._act_key(self.state, lags))

    def act(
        self, actor: Actor, rollout: Rollout, seen: Seen, first: np.ndarray
    ) -> tuple[Rollout, np.ndarray]:
        """Record a step of a group in its rollout; return both it and actions `[B, ...]`."""
        newest = self.devices.shard((dict(seen), first))
        rollout, actions = self._act(actor, rollout, *newest)
        return rollout, self.devices.gather(actions)

    def record_final_values(
        self, actor: Actor, rollout: Rollout, seen: Seen, truncated: np.ndarray
    ) -> Rollout:
        """Record the bootstrap values of truncated episodes, whose last observations are `seen`."""
        return self._final_values(actor, rollout, *self.devices.shard((dict(seen), truncated)))

    def save_state(self) -> tuple[Any, Any]:
        """Return the network's variables, and the rest of the state, as host dictionaries.

        They are copied once for each state; nobody may write into them.
        """
        if self._on_host is None or self._on_host[0] is not self.state:
            state = self.devices.first(self.state)
            rest = {name: to_state_dict(getattr(state, name)) for name in _REST}
            self._on_host = self.state, (to_state_dict(state.variables), rest)
        return self._on_host[1]

    def load_policy(self, variables: Any, reward_scale: Mapping[str, float] | None = None) -> None:
        """Replace the network's variables by host arrays of the same shapes.

        `reward_scale` has the fields of `RewardScale`; the values are in its units.
        """
        variables = dict(variables)
        params = self.devices.replicate(variables.pop("params"))
        self.state = replace(
            self.state, params=params, batch_stats=self.devices.replicate(variables)
        )
        if reward_scale is not None:
            moments: Any = {name: np.float32(x) for name, x in reward_scale.items()}
            scale = RewardScale(**moments)
            self.state = replace(self.state, reward_scale=self.devices.replicate(scale))

    def load_state(self, variables: Any, rest: Any) -> None:
        """Resume from what `save_state` gave."""
        self.load_policy(variables)
        template = self.devices.first(self.state)
        restored = {n: from_state_dict(getattr(template, n), rest[n]) for n in _REST}
        self.state = replace(self.state, **self.devices.replicate(restored))

    def share_state(self) -> None:
        """Replace the state by that of the first process, as all processes do."""
        self.load_state(*self.devices.broadcast(self.save_state()))

    def save_heads(self, rollouts: Sequence[Rollout]) -> list[dict[str, jax.Array]]:
        """Return, on the devices, what each rollout carries over from the one before."""
        return [self._head(rollout) for rollout in rollouts]

    def load_heads(
        self, rollouts: Sequence[Rollout], heads: Sequence[dict[str, jax.Array]]
    ) -> list[Rollout]:
        """Put into empty rollouts what `save_heads` returned."""
        return [
            self._load_head(rollout, self.devices.place(head))
            for rollout, head in zip(rollouts, heads, strict=True)
        ]

    def begin_update(
        self,
        rollouts: Sequence[Rollout],
        outcomes: Sequence[Outcomes],
        newest: Sequence[tuple[Seen, np.ndarray]],
        step: int,
        total_steps: int,
    ) -> tuple["Update", list[Rollout]]:
        """Make a batch of the rollouts, to learn from step by step.

        Args:
            rollouts: one for each group; consumed.
            outcomes: one for each group, host arrays `[T, B]`.
            newest: each group's newest observation, and whether it begins an episode.
            step: policy steps taken, for the schedules.
            total_steps: policy steps of the whole run.
        """
        schedules = {k: np.float32(v) for k, v in self.ppo.schedules(step, total_steps).items()}
        state, batch, rollouts, metrics = self._prepare(
            self.state,
            list(rollouts),
            self.devices.shard(list(outcomes), axis=1),
            self.devices.shard(list(newest)),
            self._teacher,
        )
        return Update(self, state, batch, schedules, metrics), list(rollouts)

    def _act_on_device(
        self, actor: Actor, rollout: Rollout, seen: Seen, first: jax.Array
    ) -> tuple[Rollout, jax.Array]:
        key = jax.random.wrap_key_data(actor.key)
        return self.ppo.agent.act(actor.variables, rollout, key, seen, first)

    def _final_values_on_device(
        self, actor: Actor, rollout: Rollout, seen: Seen, truncated: jax.Array
    ) -> Rollout:
        agent = self.ppo.agent
        return agent.record_final_values(actor.variables, rollout, seen, truncated)

    def _create_on_device(self, numbers: jax.Array) -> Rollout:
        return self.ppo.agent.create_rollout(numbers, self.ppo.config.rollout_length)

    def _prepare_on_device(self, state: TrainState, *collected: Any) -> Any:
        return self.ppo.prepare(jax.tree.map(jnp.copy, state), *collected)


class Update:
    """An update in progress; each `step` is one gradient step, so that acting can come between."""

    def __init__(
        self,
        learner: Learner,
        state: TrainState,
        batch: Batch,
        schedules: dict[str, np.float32],
        metrics: Metrics,
    ) -> None:
        self._learner = learner
        self._state = state
        self._batch = batch
        self._values = schedules
        self._schedules = learner.devices.replicate(Schedules(**schedules))
        self._metrics = metrics
        self._steps: list[Metrics] = []

    def step(self) -> bool:
        """Take a gradient step if one is left; return whether there was one."""
        learner = self._learner
        if len(self._steps) == learner.ppo.config.gradient_steps:
            return False
        self._state, metrics = learner._gradient_step(self._state, self._batch, self._schedules)
        self._steps.append(metrics)
        # At most two in flight, so that acting or a request to stop does not wait long.
        jax.block_until_ready(self._steps[-2:][0])
        return True

    def finish(self, check: Callable[[], None]) -> dict[str, float]:
        """Take the remaining steps, commit the state, and return the update's metrics.

        Args:
            check: called after each step; an exception from it drops the update.

        Raises:
            NonFiniteError: a step was not finite; the learner's state is that before it.
        """
        while self.step():
            check()
        learner = self._learner
        steps, metrics = learner.devices.first((self._steps, self._metrics))
        self._check_finite(steps)
        learner.state = learner._refresh(self._state, self._batch)
        taken = [s for s in steps if not s["skipped"]]
        result = {
            name: float(np.mean([s[name] for s in taken or steps[:1]]))
            for name in steps[0]
            if name not in ("finite", "skipped")
        }
        result |= {name: float(value) for name, value in (metrics | self._values).items()}
        return result | {"gradient_steps": float(len(taken))}

    def _check_finite(self, steps: list[dict[str, np.ndarray]]) -> None:
        for number, step in enumerate(steps):
            if not step["finite"]:
                learner = self._learner
                arrays = learner.devices.shards_of_all(self._batch.scalars)
                statistics = {
                    "gradient_step": number,
                    "metrics": {name: float(value) for name, value in step.items()},
                    "batch": {name: summarise(x) for name, x in arrays.items()},
                }
                update = int(learner.devices.first(learner.state.update))
                raise NonFiniteError(update, statistics)


def summarise(x: np.ndarray) -> dict[str, float]:
    """Return how many values of `x` are not finite, and the range and mean of the others."""
    finite = x[np.isfinite(x)]
    result = {"not_finite": float(x.size - finite.size)}
    if finite.size:
        result |= {"min": float(finite.min()), "mean": float(finite.mean())}
        result |= {"max": float(finite.max())}
    return result
