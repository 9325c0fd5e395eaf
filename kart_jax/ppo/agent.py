"""Acting: from frames to sampled actions and values, on one device."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.network import ActorCritic
from kart_jax.ppo import buffer
from kart_jax.ppo.buffer import Rollout

Variables = Mapping[str, Any]
"""The network's `params` and, with batch norm, `batch_stats`."""


@dataclass(frozen=True)
class Agent:
    """A network, the actions it chooses from, and how its observations are augmented."""

    network: ActorCritic
    actions: ActionSpec
    observation_shape: tuple[int, int, int, int]
    """`(S, H, W, C)`."""
    random_shift: int = 0

    def create_rollout(self, env: jax.Array, length: int) -> Rollout:
        """An empty rollout of `length` steps for the environments numbered `env [B]`."""
        stack, height, width, channels = self.observation_shape
        frame = (height, width, channels)
        return buffer.create(env, length, stack, frame, self.actions.shape, self.actions.dtype)

    def apply(self, variables: Variables, stacks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits `[N, outputs]` and values `[N]` of frame stacks `[N, S, H, W, C]`."""
        outputs: Any = self.network.apply(variables, stacks)
        return outputs

    def act(
        self,
        variables: Variables,
        rollout: Rollout,
        key: jax.Array,
        frames: jax.Array,
        first: jax.Array,
    ) -> tuple[Rollout, jax.Array]:
        """Take one step in all environments of a device and record it.

        The randomness of an environment depends on `key`, the step and the environment's
        number alone, not on how environments are spread over devices.

        Args:
            variables: the network's.
            rollout: steps so far; consumed.
            key: of this rollout.
            frames: `[B, H, W, C]` uint8, the newest.
            first: `[B]` bool, the frame begins an episode.

        Returns:
            The rollout with the step, and the actions `[B, ...]` to send, within bounds.
        """
        keys = self._keys(key, rollout)
        if self.random_shift:
            rollout = self._redraw_shift(rollout, keys, first)
            frames = buffer.shift_frames(frames, rollout.shift)
        age = buffer.next_age(rollout, first)
        logits, values = self.apply(variables, buffer.newest_stacks(rollout, frames, age))
        distribution = self.actions.distribution
        actions = jax.vmap(lambda k, x: distribution.sample(k, x[None])[0])(keys, logits)
        log_probs = distribution.log_prob(logits, actions)
        rollout = buffer.record(rollout, frames, age, actions, log_probs, values)
        return rollout, self.actions.clip(actions)

    def next_values(
        self, variables: Variables, rollout: Rollout, frames: jax.Array, first: jax.Array
    ) -> jax.Array:
        """V `[B]` of the observation that the last recorded step led to.

        Args:
            variables: the network's.
            rollout: steps so far, at least one.
            frames: `[B, H, W, C]` uint8, the observation's newest frame.
            first: `[B]` bool, it begins an episode (its value is then of no use for
                the step before, but has the right shape).
        """
        if self.random_shift:
            frames = buffer.shift_frames(frames, rollout.shift)
        age = buffer.next_age(rollout, first)
        _, values = self.apply(variables, buffer.newest_stacks(rollout, frames, age))
        return values

    def record_final_values(
        self, variables: Variables, rollout: Rollout, frames: jax.Array, truncated: jax.Array
    ) -> Rollout:
        """Record V of the final observations of the episodes that the last step truncated."""
        values = self.next_values(variables, rollout, frames, jnp.zeros_like(truncated))
        values = jnp.where(truncated, values, 0.0)
        final_values = rollout.final_values.at[rollout.step - 1].set(values)
        return replace(rollout, final_values=final_values)

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
