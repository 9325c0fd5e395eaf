"""The rollout as it lies on a device: every frame once, stacks put together when needed.

A frame stack at step t is `S` frames, oldest first. Frame k steps back is taken from
`frames` unless the episode is younger than k steps; then it is the episode's first
frame. `ages` holds how many steps back the episode reaches, at most S - 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Rollout:
    """What one device collects from its `B` environments in `T` steps."""

    frames: jax.Array
    """`[S - 1 + T, B, H, W, C]` uint8: the S - 1 frames before the first step, then the steps'."""
    ages: jax.Array
    """`[T, B]` int32."""
    actions: jax.Array
    """`[T, B, ...]`, as sampled."""
    log_probs: jax.Array
    """`[T, B]` float32, of the actions when they were sampled."""
    values: jax.Array
    """`[T, B]` float32, V of the observation acted upon."""
    final_values: jax.Array
    """`[T, B]` float32, V of the final observation where an episode was truncated."""
    step: jax.Array
    """int32: steps recorded so far."""
    age: jax.Array
    """`[B]` int32: the age of the newest frame."""
    shift: jax.Array
    """`[B, 2]` int32: shift of this episode's frames in pixels (augmentation)."""
    env: jax.Array
    """`[B]` int32: each environment's number among those of all devices."""
    reward_sum: jax.Array
    """`[B]` float32: discounted sum of the episode's rewards, for reward normalisation."""

    @property
    def stack(self) -> int:
        """S, frames in one observation."""
        return self.frames.shape[0] - self.ages.shape[0] + 1

    @property
    def length(self) -> int:
        """T, steps in one rollout."""
        return self.ages.shape[0]


def create(
    env: jax.Array,
    length: int,
    stack: int,
    frame_shape: tuple[int, int, int],
    action_shape: tuple[int, ...],
    action_dtype: jnp.dtype,
) -> Rollout:
    """An empty rollout for the environments numbered `env [B]`."""
    envs = env.shape[0]
    zeros = jnp.zeros((length, envs), jnp.float32)
    return Rollout(
        frames=jnp.zeros((stack - 1 + length, envs, *frame_shape), jnp.uint8),
        ages=jnp.zeros((length, envs), jnp.int32),
        actions=jnp.zeros((length, envs, *action_shape), action_dtype),
        log_probs=zeros,
        values=zeros,
        final_values=zeros,
        step=jnp.int32(0),
        age=jnp.zeros(envs, jnp.int32),
        shift=jnp.zeros((envs, 2), jnp.int32),
        env=env.astype(jnp.int32),
        reward_sum=jnp.zeros(envs, jnp.float32),
    )


def next_age(rollout: Rollout, first: jax.Array) -> jax.Array:
    """Age `[B]` of the frame that follows the newest; 0 where `first [B]`."""
    return jnp.where(first, 0, jnp.minimum(rollout.age + 1, rollout.stack - 1))


def newest_stacks(rollout: Rollout, frames: jax.Array, age: jax.Array) -> jax.Array:
    """Stacks `[B, S, H, W, C]` that end in `frames [B, H, W, C]` of the given `age [B]`."""
    lags = jnp.minimum(jnp.arange(rollout.stack - 1, -1, -1), age[:, None])
    rows = rollout.step + rollout.stack - 1 - lags
    envs = jnp.arange(age.shape[0])[:, None]
    past = rollout.frames.at[rows, envs].get(mode="clip")
    newest = (lags == 0)[:, :, None, None, None]
    return jnp.where(newest, frames[:, None], past)


def stacks_at(rollout: Rollout, times: jax.Array, envs: jax.Array) -> jax.Array:
    """Stacks `[N, S, H, W, C]` of the samples (`times [N]`, `envs [N]`)."""
    lags = jnp.arange(rollout.stack - 1, -1, -1)
    lags = jnp.minimum(lags, rollout.ages[times, envs][:, None])
    return rollout.frames[times[:, None] + rollout.stack - 1 - lags, envs[:, None]]


def record(
    rollout: Rollout,
    frames: jax.Array,
    age: jax.Array,
    actions: jax.Array,
    log_probs: jax.Array,
    values: jax.Array,
) -> Rollout:
    """Append one step: what was seen, what was done, and what it was thought to be worth."""
    t = rollout.step
    return replace(
        rollout,
        frames=rollout.frames.at[t + rollout.stack - 1].set(frames),
        ages=rollout.ages.at[t].set(age),
        actions=rollout.actions.at[t].set(actions),
        log_probs=rollout.log_probs.at[t].set(log_probs),
        values=rollout.values.at[t].set(values),
        step=t + 1,
        age=age,
    )


def rewind(rollout: Rollout) -> Rollout:
    """Begin the next rollout: keep the last S - 1 frames, which its first stacks need."""
    head = rollout.stack - 1
    frames = rollout.frames.at[:head].set(rollout.frames[rollout.length :])
    return replace(
        rollout,
        frames=frames,
        final_values=jnp.zeros_like(rollout.final_values),
        step=jnp.int32(0),
    )


def head(rollout: Rollout) -> dict[str, jax.Array]:
    """What a rewound rollout carries over from the one before it."""
    carried = {name: getattr(rollout, name) for name in ("age", "shift", "reward_sum")}
    return {"frames": rollout.frames[: rollout.stack - 1], **carried}


def with_head(rollout: Rollout, carried: dict[str, jax.Array]) -> Rollout:
    """An empty rollout that carries over what `head` gave."""
    carried = dict(carried)
    frames = rollout.frames.at[: rollout.stack - 1].set(carried.pop("frames"))
    return replace(rollout, frames=frames, **carried)


def merge(rollouts: Sequence[Rollout]) -> Rollout:
    """The rollouts of several groups of environments as one, side by side."""
    over_envs = dict.fromkeys(("age", "shift", "env", "reward_sum"), 0)
    fields = {
        name: jnp.concatenate([getattr(r, name) for r in rollouts], over_envs.get(name, 1))
        for name in Rollout.__dataclass_fields__
        if name != "step"
    }
    return Rollout(step=rollouts[0].step, **fields)


def shift_frames(frames: jax.Array, shift: jax.Array) -> jax.Array:
    """Move each of `frames [B, H, W, C]` by `shift [B, 2]` pixels, repeating its edges."""
    height, width = frames.shape[1:3]

    def move(frame: jax.Array, by: jax.Array) -> jax.Array:
        rows = jnp.clip(jnp.arange(height) - by[0], 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - by[1], 0, width - 1)
        return frame[rows][:, columns]

    return jax.vmap(move)(frames, shift)
