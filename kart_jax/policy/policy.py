"""A policy as an object: it takes frames and gives actions."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.frame_norm import FrameNormActorCritic
from kart_jax.policy.network import ActorCritic


@dataclass(frozen=True)
class PolicySpec:
    """What a policy is made of and what it expects; plain JSON by `to_dict`."""

    network: NetworkConfig
    actions: ActionSpec
    observation_shape: tuple[int, int, int, int]
    """`(S, H, W, C)` uint8, oldest frame first."""

    def module(self, axis_name: str | None = None) -> ActorCritic:
        """The network; `axis_name` is the axis of devices that share norm statistics."""
        kind = FrameNormActorCritic if self.network.normalise_frames else ActorCritic
        return kind(self.network, self.actions.outputs, axis_name=axis_name)

    def template(self) -> Any:
        """Shapes and types of the network's variables, without allocating them."""
        frames = jax.ShapeDtypeStruct((1, *self.observation_shape), jnp.uint8)
        return jax.eval_shape(self.module().init, jax.random.key(0), frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "network": dict(vars(self.network)),
            "actions": self.actions.to_dict(),
            "observation_shape": list(self.observation_shape),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PolicySpec":
        """The inverse of `to_dict`."""
        saved = values["network"].items()
        network: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved}
        stack, height, width, channels = values["observation_shape"]
        return cls(
            NetworkConfig(**network),
            ActionSpec(**values["actions"]),
            (stack, height, width, channels),
        )


class Policy:
    """Frames in, actions out; jitted once for each batch size."""

    def __init__(self, spec: PolicySpec, variables: Any, race: dict[str, Any]) -> None:
        self.spec = spec
        self.variables = jax.device_put(variables)
        self.race = race
        """The configuration of the environment that it was trained in, as plain values."""
        self._apply = jax.jit(spec.module().apply)
        distribution = spec.actions.distribution
        self._mode = jax.jit(lambda logits: spec.actions.clip(distribution.mode(logits)))
        self._sample = jax.jit(
            lambda key, logits: spec.actions.clip(distribution.sample(key, logits))
        )

    def act(self, frames: np.ndarray, key: jax.Array | None = None) -> np.ndarray:
        """Actions for one stack `[S, H, W, C]` or a batch `[B, S, H, W, C]` of uint8 frames.

        Args:
            frames: the observation or observations.
            key: sample with this random key; without one, the most probable action is taken.

        Raises:
            ValueError: the frames do not have the policy's shape or are not uint8.
        """
        logits, _ = self.logits_and_values(frames)
        actions = self._mode(logits) if key is None else self._sample(key, logits)
        return np.asarray(actions if np.ndim(frames) == 5 else actions[0])

    def value(self, frames: np.ndarray) -> np.ndarray:
        """The discounted reward that the policy expects, `[B]`, or a scalar for one stack."""
        _, values = self.logits_and_values(frames)
        return np.asarray(values if np.ndim(frames) == 5 else values[0])

    def logits_and_values(self, frames: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """The network's outputs `[B, outputs]` and `[B]` for a stack or a batch of stacks."""
        return self._apply(self.variables, self.batch(frames))

    def batch(self, frames: np.ndarray) -> np.ndarray:
        """A stack or a batch of stacks as a batch `[B, S, H, W, C]`.

        Raises:
            ValueError: the frames do not have the policy's shape or are not uint8.
        """
        frames = np.asarray(frames)
        shape = self.spec.observation_shape
        if frames.dtype != np.uint8 or frames.shape[-4:] != shape or frames.ndim not in (4, 5):
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}; this policy takes uint8 "
                f"{shape} (stack, height, width, channels), or a batch of those"
            )
        return frames.reshape(-1, *shape)
