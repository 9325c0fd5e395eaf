"""Acting: from observations to sampled actions and values, on one device."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.network import ActorCritic
from kart_jax.policy.observation import Observation, Seen, example
from kart_jax.policy.policy import PolicySpec
from kart_jax.ppo import buffer
from kart_jax.ppo.buffer import Rollout

Variables = Mapping[str, Any]
"""The network's `params` and, with batch norm, `batch_stats`."""


@dataclass(frozen=True)
class Agent:
    """A network, the actions it chooses from, and how its observations are augmented."""

    network: ActorCritic
    actions: ActionSpec
    observation_shape: tuple[int, int, int, int] | None
    """`(S, H, W, C)` of a frame stack; None where the network reads no frames."""
    state_size: int = 0
    """D of a state `[D]`; 0 where the network reads no state."""
    random_shift: int = 0

    @classmethod
    def of(cls, spec: PolicySpec, random_shift: int = 0, axis_name: str | None = None) -> "Agent":
        """Return the agent that trains a policy of `spec`."""
        return cls(
            spec.module(axis_name),
            spec.actions,
            spec.observation_shape,
            spec.state_size,
            random_shift,
        )

    def example(self) -> Observation:
        """Return one observation of zeros, `[1, ...]`, to create a network's variables with."""
        return example(self.observation_shape, self.state_size)

    def create_rollout(self, env: jax.Array, length: int) -> Rollout:
        """Return an empty rollout of `length` steps for the environments numbered `env [B]`."""
        actions = self.actions
        return buffer.create(
            env, length, self.observation_shape, self.state_size, actions.shape, actions.dtype
        )

    def apply(self, variables: Variables, observation: Observation) -> tuple[jax.Array, jax.Array]:
        """Return logits `[N, outputs]` and values `[N]` of N observations."""
        outputs: Any = self.network.apply(variables, **observation)
        return outputs

    def act(
        self,
        variables: Variables,
        rollout: Rollout,
        key: jax.Array,
        seen: Seen,
        first: jax.Array,
    ) -> tuple[Rollout, jax.Array]:
        """Take one step in all environments of a device and record it.

        The randomness of an environment depends on `key`, the step and the environment's
        number alone, not on how environments are spread over devices.

        Args:
            variables: the network's.
            rollout: steps so far; consumed.
            key: of this rollout.
            seen: the environments' newest.
            first: `[B]` bool, it begins an episode.

        Returns:
            The rollout with the step, and the actions `[B, ...]` to send, within bounds.
        """
        keys = self._keys(key, rollout)
        if self.random_shift:
            rollout = self._redraw_shift(rollout, keys, first)
        seen, age = self._augment(rollout, seen), buffer.next_age(rollout, first)
        logits, values = self.apply(variables, buffer.newest_observation(rollout, seen, age))
        distribution = self.actions.distribution
        actions = jax.vmap(lambda k, x: distribution.sample(k, x[None])[0])(keys, logits)
        log_probs = distribution.log_prob(logits, actions)
        rollout = buffer.record(rollout, seen, age, actions, log_probs, values)
        return rollout, self.actions.clip(actions)

    def next_values(
        self, variables: Variables, rollout: Rollout, seen: Seen, first: jax.Array
    ) -> jax.Array:
        """Return V `[B]` of the observation that the last recorded step led to.

        Args:
            variables: the network's.
            rollout: steps so far, at least one.
            seen: what the step led to.
            first: `[B]` bool, it begins an episode (its value is then of no use for
                the step before, but has the right shape).
        """
        seen, age = self._augment(rollout, seen), buffer.next_age(rollout, first)
        _, values = self.apply(variables, buffer.newest_observation(rollout, seen, age))
        return values

    def record_final_values(
        self, variables: Variables, rollout: Rollout, seen: Seen, truncated: jax.Array
    ) -> Rollout:
        """Record V of the final observations of the episodes that the last step truncated."""
        values = self.next_values(variables, rollout, seen, jnp.zeros_like(truncated))
        values = jnp.where(truncated, values, 0.0)
        final_values = rollout.final_values.at[rollout.step - 1].set(values)
        return replace(rollout, final_values=final_values)

    def _augment(self, rollout: Rollout, seen: Seen) -> Seen:
        """Shift the frames as their episodes say."""
        if not self.random_shift:
            return seen
        return {**seen, "frames": buffer.shift_frames(seen["frames"], rollout.shift)}

    def _keys(self, key: jax.Array, rollout: Rollout) -> jax.Array:
        key = jax.random.fold_in(key, rollout.step)
        return jax.vmap(lambda env: jax.random.fold_in(key, env))(rollout.env)

    def _redraw_shift(self, rollout: Rollout, keys: jax.Array, first: jax.Array) -> Rollout:
        """A new shift for each environment that begins an episode."""
        by = self.random_shift

        def draw(key: jax.Array) -> jax.Array:
            return jax.random.randint(jax.random.fold_in(key, 1), (2,), -by, by + 1)

        shift = jnp.where(first[:, None], jax.vmap(draw)(keys), rollout.shift)
        return replace(rollout, shift=shift)
