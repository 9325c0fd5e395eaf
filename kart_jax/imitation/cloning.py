"""Behaviour cloning: a network learns a teacher's distributions, and the value of driving."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from optax.microbatching import AccumulationType, microbatch

from kart_jax.imitation.demonstrations import Demonstration
from kart_jax.policy.observation import FRAMES, STATE, Observation
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.ppo import advantages as adv
from kart_jax.ppo.config import PPOConfig

ACTION_TOLERANCE = 0.25
"""Continuous actions that differ by less count as the same."""
EMA_DECAY = 0.998
"""Decay of the moving average of the weights, over about 500 gradient steps."""
RANDOM = "random"
"""The name of the random generator's state, as JSON, in a snapshot."""
CRITIC = "critic"
"""The name of a critic's layers on the state among a network's parameters."""
Variables = dict[str, Any]
"""The network's `params` and, with batch norm, `batch_stats`."""


class Samples:
    """All N steps of the demonstrations so far, on the host, in order.

    The frames, nearly all of their memory, stay in the demonstrations.
    """

    def __init__(self, stack: int) -> None:
        self.targets: NDArray[np.float32]
        """`[N, outputs]`, the teacher's logits."""
        self.rewards: NDArray[np.float32]
        self.ended: NDArray[np.bool_]
        """`[N]`, the last step of its episode."""
        self.finished: NDArray[np.bool_]
        """`[N]`, a step of an episode that finished: only its return is known."""
        self._lags = np.arange(stack - 1, -1, -1)
        self._demonstrations: list[Demonstration] = []
        self._ends: NDArray[np.int64]
        """Each episode's row after its last one."""
        self._lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rewards)

    def extend(self, demonstrations: Sequence[Demonstration]) -> None:
        """Add episodes."""
        self._demonstrations += demonstrations
        self._lengths = lengths = np.array([len(one.rewards) for one in self._demonstrations])
        self._ends = lengths.cumsum()
        for name in ("targets", "rewards"):
            setattr(
                self, name, np.concatenate([getattr(one, name) for one in self._demonstrations])
            )
        self.ended = np.zeros(len(self.rewards), bool)
        self.ended[self._ends - 1] = True
        self.finished = np.repeat(
            [one.summary["finished"] for one in self._demonstrations], lengths
        )

    def observations(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return observations of steps `rows [B]`: `frames [B, S, H, W, C]`, `state [B, D]`."""
        episodes = np.searchsorted(self._ends, rows, side="right")
        steps = rows - (self._ends[episodes] - self._lengths[episodes])
        parts: dict[str, NDArray[Any]] = {}
        for name in self._demonstrations[0].seen:
            if name == FRAMES:
                parts[name] = self._stacks(steps, episodes)
            else:
                at = zip(episodes, steps, strict=True)
                rows_of_part = [self._demonstrations[n].seen[name][step] for n, step in at]
                parts[name] = np.stack(rows_of_part)
        return parts

    def _stacks(self, steps: NDArray[np.int64], episodes: NDArray[np.int64]) -> NDArray[np.uint8]:
        shape = self._demonstrations[0].seen[FRAMES].shape[1:]
        stacks = np.empty((len(steps), len(self._lags), *shape), np.uint8)
        for place, (step, number) in enumerate(zip(steps, episodes, strict=True)):
            # Before the first step, its frame is repeated.
            rows = np.maximum(step - self._lags, 0)
            np.take(self._demonstrations[number].seen[FRAMES], rows, axis=0, out=stacks[place])
        return stacks


class Cloner:
    """A network that learns from samples, pass by pass.

    The loss of a step where the teacher's distribution is p, the policy's is q, and the discounted
    return is G, is `KL(p || q) + value_coefficient (V - G)^2 / 2`, with the coefficient, discount
    and reward scaling of the PPO that follows, so that PPO can start from the values. A teacher
    that has learnt such values itself hands its critic over (`take_critic`).
    """

    def __init__(
        self, spec: PolicySpec, ppo: PPOConfig, rate: float, gradient_steps: int, seed: int
    ) -> None:
        """Make a new network.

        Args:
            spec: the policy.
            ppo: the configuration of the training that follows.
            rate: Adam's step size at the start, which falls linearly to 0.
            gradient_steps: steps after which it is 0.
            seed: of the weights and of the samples' order.
        """
        self._spec, self._ppo = spec, ppo
        self._rng = np.random.default_rng(seed)
        self.variables: Variables = spec.init(jax.random.key(seed))
        """The averaged variables."""
        self._last = self.variables
        self._optimiser = optax.chain(
            optax.clip_by_global_norm(ppo.max_grad_norm),
            optax.adam(optax.linear_schedule(rate, 0.0, gradient_steps), eps=1e-5),
        )
        self._scale = adv.RewardScale.create()
        self._values = True
        """Whether the critic learns."""
        self._average = optax.ema(EMA_DECAY)
        params = self.variables["params"]
        self._state = self._optimiser.init(params), self._average.init(params)
        self._step = jax.jit(self._take_step)

    def take_weights(self, policy: Policy) -> None:
        """Begin with the weights of a policy of the same shape."""
        self.variables = self._last = jax.tree.map(jnp.copy, policy.variables)

    def take_critic(self, teacher: Policy) -> None:
        """Begin with the teacher's critic, if it has this network's layers, and leave it so."""
        scale = teacher.reward_scale
        if scale is None or not _same_critic(self._spec, teacher.spec):
            return
        critic = jax.tree.map(jnp.copy, teacher.variables["params"][CRITIC])
        for variables in (self.variables, self._last):
            variables["params"] = {**variables["params"], CRITIC: critic}
        self._scale = adv.RewardScale(**{name: jnp.float32(x) for name, x in scale.items()})
        self._values = False

    @property
    def reward_scale(self) -> dict[str, float]:
        """The scale of the rewards behind the values, as plain values."""
        return {name: float(x) for name, x in vars(self._scale).items()}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that learning changes, on the host, by their path."""
        random = np.array(json.dumps(self._rng.bit_generator.state))
        return {RANDOM: random, **{name: np.asarray(x) for name, x in self._weights()}}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the snapshot of another cloner of the same policy.

        Raises:
            ValueError: it is of another policy, or of another version of the optimiser.
        """
        own = self._weights()
        if snapshot.keys() != {RANDOM, *(name for name, _ in own)} or any(
            snapshot[name].shape != x.shape for name, x in own
        ):
            raise ValueError("the snapshot is of another policy or of another version")
        tree = jax.tree.structure(self._all)
        arrays = jax.tree.unflatten(tree, [snapshot[name] for name, _ in own])
        self._last, self._state, self.variables, self._scale = jax.device_put(arrays)
        self._rng.bit_generator.state = json.loads(str(snapshot[RANDOM]))

    @property
    def _all(self) -> Any:
        """All arrays that learning changes."""
        return self._last, self._state, self.variables, self._scale

    def _weights(self) -> list[tuple[str, jax.Array]]:
        """Return all arrays that learning changes, with their paths."""
        leaves = jax.tree.leaves_with_path(self._all)
        return [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in leaves]

    def learn(
        self, samples: Samples, batch: int, steps: int, check: Callable[[], None]
    ) -> dict[str, float]:
        """Take gradient steps on samples in the order of random permutations.

        Args:
            samples: at least `batch`.
            batch: samples in a gradient step.
            steps: gradient steps to take.
            check: called before each step; an exception from it ends the work.

        Returns:
            Means over the steps: `kl` from the teacher, the share of the teacher's most probable
            actions that are the `same` as the policy's, `entropy`, and `value_error`.
        """
        discounted, scale = discounted_returns(samples, self._ppo)
        returns = np.asarray(discounted)
        if self._values:
            self._scale = scale
        order = np.empty(0, np.int64)
        history = []
        for _ in range(steps):
            check()
            if len(order) < batch:
                order = self._rng.permutation(len(samples))
            rows, order = order[:batch], order[batch:]
            self._last, self._state, self.variables, metrics = self._step(
                self._last,
                self._state,
                samples.observations(rows),
                samples.targets[rows],
                returns[rows],
                samples.finished[rows] & self._values,
            )
            history.append(metrics)
        return {name: float(np.mean([metrics[name] for metrics in history])) for name in history[0]}

    def _take_step(
        self,
        variables: Variables,
        state: Any,
        observations: Observation,
        targets: jax.Array,
        returns: jax.Array,
        known: jax.Array,
    ) -> Any:
        """Return the variables and states after a gradient step, the averaged ones, and metrics."""
        params, (state, average) = variables["params"], state
        statistics = {name: x for name, x in variables.items() if name != "params"}
        gradient = jax.grad(partial(self._loss, statistics), has_aux=True)
        weights = known / jnp.maximum(known.mean(), 1 / len(known))
        # Batch norm is over the whole batch.
        size = None if statistics else self._ppo.microbatch_size(len(known))
        gradient = microbatch(gradient, 1, size, AccumulationType.MEAN)
        grads, (statistics, metrics) = gradient(params, (observations, targets, returns, weights))
        updates, state = self._optimiser.update(grads, state)
        params = optax.apply_updates(params, updates)
        averaged, average = self._average.update(params, average)
        return (
            {"params": params, **statistics},
            (state, average),
            {"params": averaged, **statistics},
            metrics,
        )

    def _loss(
        self, statistics: Variables, params: Any, batch: tuple[Any, ...]
    ) -> tuple[jax.Array, Any]:
        """Return the loss of a batch, the norm statistics after it, and metrics.

        The batch has observations, the teacher's logits, returns, and weights of the returns.
        """
        observations, targets, returns, weights = batch
        outputs: Any = self._spec.module().apply(
            {"params": params, **statistics}, **observations, train=True, mutable=list(statistics)
        )
        (logits, values), statistics = outputs
        distribution = self._spec.actions.distribution
        kl = distribution.kl(targets, logits).mean()
        entropy = distribution.entropy(logits).mean()
        value_error = jnp.mean(weights * jnp.square(values - returns))
        loss = kl + self._ppo.value_coefficient * value_error / 2
        apart = jnp.abs(distribution.mode(logits) - distribution.mode(targets))
        same = (apart < ACTION_TOLERANCE).mean()
        metrics = {"kl": kl, "same": same, "entropy": entropy}
        return loss, (dict(statistics), metrics | {"value_error": value_error})


def _same_critic(one: PolicySpec, other: PolicySpec) -> bool:
    """Whether both have a critic on the state, of the same layers."""
    return one.network.critic == other.network.critic == STATE and (
        (one.network.hidden, one.state_size) == (other.network.hidden, other.state_size)
    )


def discounted_returns(samples: Samples, ppo: PPOConfig) -> tuple[jax.Array, adv.RewardScale]:
    """Return the discounted sum of rewards from each step to its episode's end, `[N]` float32.

    With `normalise_rewards` they are scaled as PPO will scale them, by the scale that is returned
    for PPO to begin with.
    """
    rewards, ended = jnp.asarray(samples.rewards)[:, None], jnp.asarray(samples.ended)[:, None]
    scale = adv.RewardScale.create()
    if ppo.normalise_rewards:
        scale, _, rewards = adv.scale_rewards(scale, jnp.zeros(1), rewards, ended, ppo.discount)
    # With values of 0 and a lambda of 1, the advantage is the return.
    zeros = jnp.zeros_like(rewards)
    returns = adv.generalised_advantages(rewards, zeros, zeros, ended, ended, ppo.discount, 1.0)
    return returns[:, 0], scale
