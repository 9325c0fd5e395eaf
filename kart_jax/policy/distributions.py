"""Action distributions, and a description of the action space that fits in a JSON file.

A network's outputs, called `logits` here, are `[B, outputs]`; whatever their type, everything is
computed in float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gymnasium
import jax
import jax.numpy as jnp

from kart_jax.validation import check, check_choice

LOG_STD_RANGE = (-5.0, 2.0)
"""The log standard deviation is clipped to this range, in units of half the box's width."""


class Distribution(Protocol):
    """A family of distributions over one action per row, without parameters of its own."""

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """Draw one action per row of `logits [B, outputs]`."""
        ...

    def log_prob(self, logits: jax.Array, actions: jax.Array) -> jax.Array:
        """Return the log-probability (or log-density) of `actions` under `logits`, `[B]`."""
        ...

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the entropy in nats, `[B]`."""
        ...

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the most probable action per row."""
        ...

    def kl(self, logits: jax.Array, others: jax.Array) -> jax.Array:
        """Return KL(p || q) of p by `logits` from q by `others`, in nats, `[B]`."""
        ...

    def around(self, actions: jax.Array, spread: float) -> jax.Array:
        """Return logits `[B, outputs]` of a narrow distribution around `actions`.

        `spread` is the share of choices that are drawn at random, or the standard deviation in
        units of half the box's width.
        """
        ...


@dataclass(frozen=True)
class MultiCategorical:
    """Independent categorical distributions side by side; actions are int32 `[B, n]`.

    Log-probabilities and entropies are sums over the components.
    """

    nvec: tuple[int, ...]

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """Draw one action per row, `[B, n]`."""
        keys = jax.random.split(key, len(self.nvec))
        draws = [
            jax.random.categorical(k, x) for k, x in zip(keys, self._split(logits), strict=True)
        ]
        return jnp.stack(draws, axis=-1).astype(jnp.int32)

    def log_prob(self, logits: jax.Array, actions: jax.Array) -> jax.Array:
        """Return the sum over components of the log-probability of `actions [B, n]`, `[B]`."""
        chosen = [
            jnp.take_along_axis(jax.nn.log_softmax(x), actions[:, i, None], axis=-1)
            for i, x in enumerate(self._split(logits))
        ]
        return jnp.concatenate(chosen, axis=-1).sum(axis=-1)

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the sum over components of the entropy in nats, `[B]`."""
        terms = [-jax.nn.softmax(x) * jax.nn.log_softmax(x) for x in self._split(logits)]
        return jnp.concatenate(terms, axis=-1).sum(axis=-1)

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the most probable action of each component, `[B, n]`."""
        best = [jnp.argmax(x, axis=-1) for x in self._split(logits)]
        return jnp.stack(best, axis=-1).astype(jnp.int32)

    def kl(self, logits: jax.Array, others: jax.Array) -> jax.Array:
        """Return the sum over components of KL(p || q), `[B]`."""
        terms = [
            jax.nn.softmax(x) * (jax.nn.log_softmax(x) - jax.nn.log_softmax(y))
            for x, y in zip(self._split(logits), self._split(others), strict=True)
        ]
        return jnp.concatenate(terms, axis=-1).sum(axis=-1)

    def around(self, actions: jax.Array, spread: float) -> jax.Array:
        """Return logits with probability `1 - spread + spread / n` on each of `actions [B, n]`."""
        chosen = [jax.nn.one_hot(actions[:, i], n) for i, n in enumerate(self.nvec)]
        smooth = [(1 - spread) * x + spread / n for x, n in zip(chosen, self.nvec, strict=True)]
        return jnp.log(jnp.concatenate(smooth, axis=-1))

    def _split(self, logits: jax.Array) -> Iterator[jax.Array]:
        """The logits of each component, `[B, n_i]` float32."""
        start = 0
        for n in self.nvec:
            yield logits[:, start : start + n].astype(jnp.float32)
            start += n


@dataclass(frozen=True)
class Categorical:
    """One categorical distribution; actions are int32 `[B]`."""

    n: int

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """Draw one action per row, `[B]`."""
        return self._components.sample(key, logits)[:, 0]

    def log_prob(self, logits: jax.Array, actions: jax.Array) -> jax.Array:
        """Return the log-probability of `actions [B]`, `[B]`."""
        return self._components.log_prob(logits, actions[:, None])

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the entropy in nats, `[B]`."""
        return self._components.entropy(logits)

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the most probable action, `[B]`."""
        return self._components.mode(logits)[:, 0]

    def kl(self, logits: jax.Array, others: jax.Array) -> jax.Array:
        """Return KL(p || q), `[B]`."""
        return self._components.kl(logits, others)

    def around(self, actions: jax.Array, spread: float) -> jax.Array:
        """Return logits with probability `1 - spread + spread / n` on `actions [B]`."""
        return self._components.around(actions[:, None], spread)

    @property
    def _components(self) -> MultiCategorical:
        return MultiCategorical((self.n,))


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal distributions around a mean in the box; actions are float32 `[B, d]`.

    The first d outputs are means, the others log standard deviations, both in units in which
    the box is [-1, 1]. Samples may lie outside the box: they are stored as drawn, so that their
    density is exact, and the environment clips what it is given (`ActionSpec.clip`).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """Draw one action per row, `[B, d]`, not clipped to the box."""
        mean, log_std = self._moments(logits)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)

    def log_prob(self, logits: jax.Array, actions: jax.Array) -> jax.Array:
        """Return the log-density of `actions [B, d]`, `[B]`."""
        mean, log_std = self._moments(logits)
        z = (actions.astype(jnp.float32) - mean) * jnp.exp(-log_std)
        return -jnp.sum(0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the differential entropy in nats, `[B]`."""
        _, log_std = self._moments(logits)
        return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the mean, `[B, d]`."""
        return self._moments(logits)[0]

    def kl(self, logits: jax.Array, others: jax.Array) -> jax.Array:
        """Return the sum over components of KL(p || q), `[B]`."""
        (mean, log_std), (other, other_log_std) = self._moments(logits), self._moments(others)
        squares = jnp.exp(2 * log_std) + jnp.square(mean - other)
        terms = other_log_std - log_std + 0.5 * squares * jnp.exp(-2 * other_log_std) - 0.5
        return terms.sum(axis=-1)

    def around(self, actions: jax.Array, spread: float) -> jax.Array:
        """Return logits with the mean `actions [B, d]`."""
        low, high = jnp.array(self.low), jnp.array(self.high)
        mean = 2 * (actions.astype(jnp.float32) - low) / (high - low) - 1
        return jnp.concatenate([mean, jnp.full_like(mean, math.log(spread))], axis=-1)

    def _moments(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation in the box's own units, each `[B, d]`."""
        low, high = jnp.array(self.low), jnp.array(self.high)
        half = (high - low) / 2
        mean, log_std = jnp.split(logits.astype(jnp.float32), 2, axis=-1)
        return low + half * (1 + mean), jnp.log(half) + jnp.clip(log_std, *LOG_STD_RANGE)


@dataclass(frozen=True)
class ActionSpec:
    """The action space of an environment, without Gymnasium; `to_dict` returns plain JSON."""

    kind: Literal["discrete", "multi_discrete", "continuous"]
    nvec: tuple[int, ...] = ()
    """Choices of each discrete component (one for `discrete`)."""
    low: tuple[float, ...] = ()
    """Lower bound of each continuous component."""
    high: tuple[float, ...] = ()
    """Upper bound of each continuous component."""

    def __post_init__(self) -> None:
        """Refuse a description that does not fit its kind; lists (from JSON) become tuples."""
        check_choice("kind", self.kind, ["discrete", "multi_discrete", "continuous"])
        for name in ("nvec", "low", "high"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.kind == "continuous":
            check(not self.nvec, "nvec", self.nvec, "empty for continuous actions")
            check(len(self.low) > 0, "low", self.low, "one bound per component, at least one")
            check(len(self.high) == len(self.low), "high", self.high, "as many bounds as low")
            bounds = zip(self.low, self.high, strict=True)
            ordered = all(-math.inf < a < b < math.inf for a, b in bounds)
            check(ordered, "high", self.high, f"finite and above low = {self.low}")
        else:
            check(not self.low and not self.high, "low", self.low, "empty for discrete actions")
            check(
                len(self.nvec) > 0 and min(self.nvec) >= 1, "nvec", self.nvec, "counts, 1 or more"
            )
            one = self.kind == "multi_discrete" or len(self.nvec) == 1
            check(one, "nvec", self.nvec, "one count for a discrete action")

    @classmethod
    def from_space(cls, space: gymnasium.Space[Any]) -> ActionSpec:
        """Describe the action space of one environment.

        Raises:
            ValueError: the space is of another kind, starts elsewhere than at 0, or is unbounded.
        """
        match space:
            case gymnasium.spaces.Discrete() if space.start == 0:
                return cls("discrete", nvec=(int(space.n),))
            case gymnasium.spaces.MultiDiscrete() if space.nvec.ndim == 1 and not space.start.any():
                return cls("multi_discrete", nvec=tuple(map(int, space.nvec)))
            case gymnasium.spaces.Box() if len(space.shape) == 1:
                low, high = (tuple(map(float, bound)) for bound in (space.low, space.high))
                return cls("continuous", low=low, high=high)
        raise ValueError(
            f"action space {space} is not supported: use Discrete or MultiDiscrete starting at 0, "
            "or a Box with one axis"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `ActionSpec(**d)` reads them back."""
        return dataclasses.asdict(self)

    @property
    def outputs(self) -> int:
        """Outputs that the network needs: a logit per choice, or a mean and a log-std each."""
        return 2 * len(self.low) if self.kind == "continuous" else sum(self.nvec)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return () if self.kind == "discrete" else (len(self.nvec) or len(self.low),)

    @property
    def dtype(self) -> jnp.dtype:
        """Type of an action: int32 or float32."""
        return jnp.dtype(jnp.float32 if self.kind == "continuous" else jnp.int32)

    @property
    def distribution(self) -> Distribution:
        """The family of distributions that the network's outputs parametrise."""
        if self.kind == "continuous":
            return DiagonalGaussian(self.low, self.high)
        if self.kind == "discrete":
            return Categorical(self.nvec[0])
        return MultiCategorical(self.nvec)

    def clip(self, actions: jax.Array) -> jax.Array:
        """Return the actions to send: continuous ones `[B, d]` are clipped to the box."""
        if self.kind != "continuous":
            return actions
        return jnp.clip(actions, jnp.array(self.low), jnp.array(self.high))
