"""The clipped objective."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class LossWeights:
    """The coefficients of one loss; arrays where a schedule moves them."""

    clip_range: jax.Array | np.float32 | float
    entropy_coefficient: jax.Array | np.float32 | float
    value_coefficient: float = 0.5
    value_clip: float | None = None
    kickstart_coefficient: jax.Array | np.float32 | float = 0.0


def normalise(advantages: jax.Array, axis_name: str | None = None) -> jax.Array:
    """Scale advantages `[N]` to zero mean and unit variance, over the minibatch of all devices.

    For a minibatch of one sample it is 0, not NaN.
    """

    def mean(x: jax.Array) -> jax.Array:
        x = x.mean()
        return x if axis_name is None else jax.lax.pmean(x, axis_name)

    centred = advantages - mean(advantages)
    return centred / (jnp.sqrt(mean(jnp.square(centred))) + 1e-8)


def ppo_loss(
    log_probs: jax.Array,
    values: jax.Array,
    entropies: jax.Array,
    old_log_probs: jax.Array,
    old_values: jax.Array,
    advantages: jax.Array,
    returns: jax.Array,
    weights: LossWeights,
    teacher_kl: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return the loss of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9).

        r = exp(log_probs - old_log_probs)
        policy = -mean(min(r * A, clip(r, 1 - eps, 1 + eps) * A))
        value = mean((V - R)^2) / 2
        loss = policy + value_coefficient * value - entropy_coefficient * mean(entropies)

    and, with a teacher, `kickstart_coefficient * mean(teacher_kl)` (Schmitt et al. 2018,
    arXiv 1803.03835, eq. 4). All arrays are `[N]` float32. With `value_clip`, the value's square
    is the larger of the plain one and that of a value moved by at most `value_clip` from the old
    one.

    Returns:
        The loss and its parts: losses, entropy, both estimators of KL(old, new) by
        Schulman (http://joschu.net/blog/kl-approx.html: k1 and k3), clip fraction.
    """
    chex.assert_rank(log_probs, 1)
    chex.assert_equal_shape(
        [log_probs, values, entropies, old_log_probs, old_values, advantages, returns]
    )
    log_ratio = log_probs - old_log_probs
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - weights.clip_range, 1.0 + weights.clip_range)
    policy_loss = -jnp.minimum(ratio * advantages, clipped * advantages).mean()

    errors = jnp.square(values - returns)
    if weights.value_clip is not None:
        moved = old_values + jnp.clip(values - old_values, -weights.value_clip, weights.value_clip)
        errors = jnp.maximum(errors, jnp.square(moved - returns))
    value_loss = 0.5 * errors.mean()

    entropy = entropies.mean()
    loss = (
        policy_loss + weights.value_coefficient * value_loss - weights.entropy_coefficient * entropy
    )
    parts = {
        "loss": loss,
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl_k1": -log_ratio.mean(),
        "kl": (ratio - 1.0 - log_ratio).mean(),
        "clip_fraction": (jnp.abs(ratio - 1.0) > weights.clip_range).mean(),
    }
    if teacher_kl is not None:
        parts["teacher_kl"] = teacher_kl.mean()
        parts["loss"] = loss = loss + weights.kickstart_coefficient * parts["teacher_kl"]
    return loss, parts
