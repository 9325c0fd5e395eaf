"""Advantages, and the running scale of rewards."""

import chex
import jax
import jax.numpy as jnp
from flax import struct


def generalised_advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    ended: jax.Array,
    discount: float,
    gae_lambda: float,
) -> jax.Array:
    """Return generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    For t = T-1 .. 0, with d_t = `ended` and e_t = `terminated`:

        delta_t = r_t + discount * (1 - e_t) * V(s'_t) - V(s_t)
        A_t     = delta_t + discount * gae_lambda * (1 - d_t) * A_{t+1}

    Args:
        rewards: `[T, B]`.
        values: `[T, B]`, V(s_t).
        next_values: `[T, B]`, V(s'_t) of the state that step t led to; where the episode
            was truncated that is its final observation, not the first of the next one.
        terminated: `[T, B]` bool, the race ended by itself: nothing to bootstrap from.
        ended: `[T, B]` bool, terminated or truncated: the trace is cut.
        discount: gamma.
        gae_lambda: lambda.

    Returns:
        `[T, B]` float32 advantages; the value targets are `advantages + values`.
    """
    chex.assert_rank(rewards, 2)
    chex.assert_equal_shape([rewards, values, next_values, terminated, ended])
    deltas = rewards + discount * jnp.where(terminated, 0.0, next_values) - values
    decay = discount * gae_lambda * jnp.where(ended, 0.0, 1.0)

    def backwards(later: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple:
        delta, factor = step
        advantage = delta + factor * later
        return advantage, advantage

    start = jnp.zeros_like(deltas[0])
    advantages: jax.Array = jax.lax.scan(backwards, start, (deltas, decay), reverse=True)[1]
    return advantages


@struct.dataclass
class RewardScale:
    """Running moments of the discounted sum of rewards, the same on all devices."""

    mean: jax.Array
    variance: jax.Array
    count: jax.Array

    @staticmethod
    def create() -> "RewardScale":
        """Return the scale before any reward was observed: unit variance."""
        return RewardScale(mean=jnp.zeros(()), variance=jnp.ones(()), count=jnp.full((), 1e-4))


def scale_rewards(
    scale: RewardScale,
    running: jax.Array,
    rewards: jax.Array,
    ended: jax.Array,
    discount: float,
    axis_name: str | None = None,
) -> tuple[RewardScale, jax.Array, jax.Array]:
    """Divide rewards by the deviation of their running discounted sum.

    The moments are merged as by Chan et al. (1979); see Engstrom et al. (2020),
    "Implementation matters in deep policy gradients", for the use in PPO.

    Args:
        scale: moments so far.
        running: `[B]`, the discounted sum of each environment's rewards so far.
        rewards: `[T, B]`.
        ended: `[T, B]` bool.
        discount: gamma.
        axis_name: devices to share the moments with.

    Returns:
        The new moments, the new running sums and the scaled rewards, clipped to +-10.
    """

    def step(total: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple:
        reward, end = now
        total = discount * total + reward
        return jnp.where(end, 0.0, total), total

    sums: jax.Array
    running, sums = jax.lax.scan(step, running, (rewards, ended))

    def over_devices(x: jax.Array) -> jax.Array:
        return x if axis_name is None else jax.lax.pmean(x, axis_name)

    mean = over_devices(sums.mean())
    variance = over_devices(jnp.square(sums - mean).mean())
    count = jnp.float32(sums.size)
    if axis_name is not None:
        count = jax.lax.psum(count, axis_name)
    total = scale.count + count
    delta = mean - scale.mean
    merged = (
        scale.variance * scale.count
        + variance * count
        + jnp.square(delta) * scale.count * count / total
    ) / total
    scale = RewardScale(mean=scale.mean + delta * count / total, variance=merged, count=total)
    scaled = jnp.clip(rewards / jnp.sqrt(scale.variance + 1e-8), -10.0, 10.0)
    return scale, running, scaled
