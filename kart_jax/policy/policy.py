"""A policy as an object: it takes observations and returns actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.network import ActorCritic
from kart_jax.policy.observation import FRAMES, Observation, example
from kart_jax.validation import UserError


@dataclass(frozen=True)
class PolicySpec:
    """What a policy is made of and what it expects; plain JSON by `to_dict`."""

    network: NetworkConfig
    actions: ActionSpec
    observation_shape: tuple[int, int, int, int] | None
    """`(S, H, W, C)` of uint8 frames, oldest first; None where the network sees no frames."""
    state_size: int = 0
    """D of a float32 state; 0 where the network sees no state."""

    def module(self, axis_name: str | None = None) -> ActorCritic:
        """Return the network; `axis_name` is the axis of devices that share norm statistics."""
        return ActorCritic(self.network, self.actions.outputs, axis_name=axis_name)

    def example(self) -> dict[str, Any]:
        """Return one observation of zeros, `[1, ...]`, of all that the network sees."""
        return example(self.observation_shape, self.state_size)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return the variables of a new network."""
        return dict(jax.jit(self.module().init)(key, **self.example()))

    def template(self) -> Any:
        """Return shapes and types of the network's variables, without allocating them."""
        return jax.eval_shape(self.module().init, jax.random.key(0), **self.example())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        shape = self.observation_shape
        return {
            "network": dict(vars(self.network)),
            "actions": self.actions.to_dict(),
            "observation_shape": None if shape is None else list(shape),
            "state_size": self.state_size,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PolicySpec":
        """Return the spec that `to_dict` wrote."""
        saved = values["network"].items()
        network: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved}
        shape = None
        if values["observation_shape"] is not None:
            stack, height, width, channels = values["observation_shape"]
            shape = (stack, height, width, channels)
        # Version 0.1 had no states.
        size = values.get("state_size", 0)
        return cls(NetworkConfig(**network), ActionSpec(**values["actions"]), shape, size)


class Policy:
    """Observations in, actions out; jitted once for each batch size.

    An observation is an array of what the actor sees, one or a batch: frame stacks
    `[S, H, W, C]` uint8, or states `[D]`. A mapping of `frames` and `state` does as well.
    """

    def __init__(
        self,
        spec: PolicySpec,
        variables: Any,
        race: dict[str, Any],
        reward_scale: dict[str, float] | None = None,
    ) -> None:
        self.spec = spec
        self.variables = jax.device_put(variables)
        self.race = {**race, "observation": spec.network.actor}
        """The configuration of the environment that it was trained in, as plain values; its
        observation is what the actor sees."""
        self.reward_scale = reward_scale
        """Moments of what its rewards were divided by (`ppo.advantages.RewardScale`), for a run
        that begins with it; None where they are unknown."""
        self._apply = jax.jit(spec.module().apply, static_argnames="critic")
        distribution = spec.actions.distribution
        self._mode = jax.jit(lambda logits: spec.actions.clip(distribution.mode(logits)))
        self._sample = jax.jit(
            lambda key, logits: spec.actions.clip(distribution.sample(key, logits))
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process is made from; compiled programs stay here."""
        return {
            "spec": self.spec,
            "variables": jax.device_get(self.variables),
            "race": self.race,
            "reward_scale": self.reward_scale,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        Policy.__init__(self, **state)

    def act(self, observation: ArrayLike | Observation, key: jax.Array | None = None) -> np.ndarray:
        """Return the action for one observation, or actions `[B, ...]` for a batch.

        Args:
            observation: one or a batch.
            key: sample with this random key; without one, the most probable action is taken.

        Raises:
            ValueError: the observation does not have the policy's shape or type.
        """
        logits, _ = self.logits_and_values(observation)
        actions = self._mode(logits) if key is None else self._sample(key, logits)
        return np.asarray(actions if self._is_batch(observation) else actions[0])

    def value(self, observation: ArrayLike | Observation) -> np.ndarray:
        """Return the expected discounted reward, `[B]`, or a scalar for one observation.

        Raises:
            ValueError: as `act`; or what the critic sees is not there.
        """
        _, values = self.logits_and_values(observation)
        if values is None:
            critic = self.spec.network.critic
            raise UserError(f"the critic of this policy sees the {critic}, which is not given")
        return np.asarray(values if self._is_batch(observation) else values[0])

    @property
    def has_value(self) -> bool:
        """Whether `value` needs no more than the actor sees."""
        return self.spec.network.critic == self.spec.network.actor

    def logits_and_values(
        self, observation: ArrayLike | Observation
    ) -> tuple[jax.Array, jax.Array | None]:
        """Return the network's outputs `[B, outputs]` and `[B]` for one observation or a batch.

        There are no values where what the critic sees is not given.
        """
        seen = self.batch(observation)
        critic = self.spec.network.critic in seen
        if len(seen[self.spec.network.actor]) == 0:  # which convolutions do not take
            return jnp.zeros((0, self.spec.actions.outputs)), jnp.zeros(0) if critic else None
        return self._apply(self.variables, critic=critic, **seen)

    def batch(self, observation: ArrayLike | Observation) -> dict[str, np.ndarray]:
        """Return one observation or a batch as a batch of what the network sees, by name.

        Raises:
            ValueError: a part does not have the policy's shape or type, or the actor's is missing.
        """
        parts = self._parts(observation)
        actor = self.spec.network.actor
        if actor not in parts:
            raise UserError(f"this policy sees {actor}; the observation has {sorted(parts)}")
        seen = self.spec.network.sees & parts.keys()
        return {name: self._checked(name, np.asarray(parts[name])) for name in seen}

    def _parts(self, observation: ArrayLike | Observation) -> Mapping[str, ArrayLike]:
        if isinstance(observation, Mapping):
            return observation
        return {self.spec.network.actor: observation}

    def _is_batch(self, observation: ArrayLike | Observation) -> bool:
        actor = self.spec.network.actor
        return np.ndim(self._parts(observation)[actor]) == (5 if actor == FRAMES else 2)

    def _checked(self, name: str, part: np.ndarray) -> np.ndarray:
        """A part as a batch."""
        if name == FRAMES:
            shape: tuple[int, ...] = self.spec.observation_shape or ()
            kind, axes = "uint8", "(stack, height, width, channels)"
        else:
            shape, kind, axes = (self.spec.state_size,), "float32", "(state,)"
        single = part.ndim == len(shape)
        if part.dtype != kind or part.shape[-len(shape) :] != shape or part.ndim > len(shape) + 1:
            raise UserError(
                f"{name} are {part.dtype} {part.shape}; this policy takes {kind} {shape} {axes}, "
                "or a batch of those"
            )
        return part[None] if single else part
