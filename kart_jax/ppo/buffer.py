"""The rollout on a device: every frame once, stacks assembled when needed.

A frame stack at step t is `S` frames, oldest first. Frame k steps back is taken from
`frames` unless the episode is younger than k steps; then it is the episode's first
frame. `ages` holds how many steps back the episode reaches, at most S - 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from kart_jax.policy.observation import Observation, Seen


@struct.dataclass
class Rollout:
    """What one device collects from its `B` environments in `T` steps."""

    frames: jax.Array | None
    """`[S - 1 + T, B, H, W, C]` uint8: the S - 1 frames before the first step, then the steps';
    None where nothing is drawn."""
    states: jax.Array | None
    """`[T, B, D]` float32; None where the environments have no state."""
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
        return 1 if self.frames is None else self.frames.shape[0] - self.ages.shape[0] + 1

    @property
    def length(self) -> int:
        """T, steps in one rollout."""
        return self.ages.shape[0]


def create(
    env: jax.Array,
    length: int,
    observation_shape: tuple[int, int, int, int] | None,
    state_size: int,
    action_shape: tuple[int, ...],
    action_dtype: jnp.dtype,
) -> Rollout:
    """Return an empty rollout for the environments numbered `env [B]`.

    Args:
        env: the environments' numbers.
        length: T, its steps.
        observation_shape: `(S, H, W, C)` of a frame stack, or None without frames.
        state_size: D, or 0 without a state.
        action_shape: of one action.
        action_dtype: of one action.
    """
    envs = env.shape[0]
    frames = None
    if observation_shape is not None:
        stack, *frame = observation_shape
        frames = jnp.zeros((stack - 1 + length, envs, *frame), jnp.uint8)
    zeros = jnp.zeros((length, envs), jnp.float32)
    return Rollout(
        frames=frames,
        states=jnp.zeros((length, envs, state_size), jnp.float32) if state_size else None,
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
    """Return the age `[B]` of the frame that follows the newest; 0 where `first [B]`."""
    return jnp.where(first, 0, jnp.minimum(rollout.age + 1, rollout.stack - 1))


def newest_observation(rollout: Rollout, seen: Seen, age: jax.Array) -> Observation:
    """Return the observation that ends in `seen`, whose frames have the given `age [B]`."""
    observation = dict(seen)
    if rollout.frames is not None:
        lags = jnp.minimum(jnp.arange(rollout.stack - 1, -1, -1), age[:, None])
        rows = rollout.step + rollout.stack - 1 - lags
        envs = jnp.arange(age.shape[0])[:, None]
        past = rollout.frames.at[rows, envs].get(mode="clip")
        newest = (lags == 0)[:, :, None, None, None]
        observation["frames"] = jnp.where(newest, seen["frames"][:, None], past)
    return observation


def observations_at(rollout: Rollout, times: jax.Array, envs: jax.Array) -> Observation:
    """Return the observations of the samples (`times [N]`, `envs [N]`)."""
    observation: dict[str, jax.Array] = {}
    if rollout.frames is not None:
        lags = jnp.arange(rollout.stack - 1, -1, -1)
        lags = jnp.minimum(lags, rollout.ages[times, envs][:, None])
        rows = times[:, None] + rollout.stack - 1 - lags
        observation["frames"] = rollout.frames[rows, envs[:, None]]
    if rollout.states is not None:
        observation["state"] = rollout.states[times, envs]
    return observation


def record(
    rollout: Rollout,
    seen: Seen,
    age: jax.Array,
    actions: jax.Array,
    log_probs: jax.Array,
    values: jax.Array,
) -> Rollout:
    """Append one step: observation, action and value."""
    t, frames, states = rollout.step, rollout.frames, rollout.states
    if frames is not None:
        frames = frames.at[t + rollout.stack - 1].set(seen["frames"])
    if states is not None:
        states = states.at[t].set(seen["state"])
    return replace(
        rollout,
        frames=frames,
        states=states,
        ages=rollout.ages.at[t].set(age),
        actions=rollout.actions.at[t].set(actions),
        log_probs=rollout.log_probs.at[t].set(log_probs),
        values=rollout.values.at[t].set(values),
        step=t + 1,
        age=age,
    )


def rewind(rollout: Rollout) -> Rollout:
    """Begin the next rollout: keep the last S - 1 frames, which its first stacks need."""
    head, frames = rollout.stack - 1, rollout.frames
    if frames is not None:
        frames = frames.at[:head].set(frames[rollout.length :])
    return replace(
        rollout,
        frames=frames,
        final_values=jnp.zeros_like(rollout.final_values),
        step=jnp.int32(0),
    )


def head(rollout: Rollout) -> dict[str, jax.Array]:
    """Return what a rewound rollout carries over from the one before it."""
    carried = {name: getattr(rollout, name) for name in ("age", "shift", "reward_sum")}
    if rollout.frames is not None:
        carried["frames"] = rollout.frames[: rollout.stack - 1]
    return carried


def with_head(rollout: Rollout, carried: dict[str, jax.Array]) -> Rollout:
    """Return an empty rollout that carries over what `head` returned."""
    if rollout.frames is not None:
        frames = rollout.frames.at[: rollout.stack - 1].set(carried["frames"])
        carried = {**carried, "frames": frames}
    return replace(rollout, **carried)


def merge(rollouts: Sequence[Rollout]) -> Rollout:
    """Return the rollouts of several groups of environments as one, side by side."""
    over_envs = dict.fromkeys(("age", "shift", "env", "reward_sum"), 0)
    fields = {
        name: jnp.concatenate([getattr(r, name) for r in rollouts], over_envs.get(name, 1))
        for name, value in vars(rollouts[0]).items()
        if name != "step" and value is not None
    }
    return replace(rollouts[0], **fields)


def shift_frames(frames: jax.Array, shift: jax.Array) -> jax.Array:
    """Move each of `frames [B, H, W, C]` by `shift [B, 2]` pixels, repeating its edges."""
    height, width = frames.shape[1:3]

    def move(frame: jax.Array, by: jax.Array) -> jax.Array:
        rows = jnp.clip(jnp.arange(height) - by[0], 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - by[1], 0, width - 1)
        return frame[rows][:, columns]

    return jax.vmap(move)(frames, shift)
