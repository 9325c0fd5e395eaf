"""One PPO update: a rollout becomes a batch, a batch becomes gradient steps.

Everything here is a pure function of one device's arrays; `axis_name` is the axis over
which devices average. An update is `prepare`, then `gradient_step` epochs x minibatches
times, then `refresh_statistics` where the network has batch norm: the loss sees the
statistics that acting used, so that the ratio is 1 before the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from optax.microbatching import AccumulationType, microbatch

from kart_jax.policy.network import CRITIC, ActorCritic
from kart_jax.policy.observation import Observation, Seen
from kart_jax.ppo import advantages as adv
from kart_jax.ppo import buffer
from kart_jax.ppo.agent import Agent, Variables
from kart_jax.ppo.buffer import Rollout
from kart_jax.ppo.config import PPOConfig
from kart_jax.ppo.loss import LossWeights, normalise, ppo_loss

Metrics = dict[str, jax.Array]

KEY_ACT, KEY_ORDER = 0, 1
"""Purposes of random keys."""


@struct.dataclass
class TrainState:
    """All that learning changes; the same on every device."""

    params: Any
    batch_stats: Any
    """Norm statistics; empty without batch norm."""
    optimiser: optax.OptState
    reward_scale: adv.RewardScale
    update: jax.Array
    """int32: updates finished."""
    minibatch: jax.Array
    """int32: gradient steps of the update at hand."""
    stopped: jax.Array
    """bool: the update at hand went past its target KL."""
    key: jax.Array
    """uint32: data of the run's random key, from which all others are derived."""

    @property
    def variables(self) -> dict[str, Any]:
        """What the network is applied with."""
        return {"params": self.params, **self.batch_stats}

    def key_for(self, purpose: int, lag: jax.Array | int = 0) -> jax.Array:
        """Return a random key for one purpose, of the update that follows `lag` later."""
        key = jax.random.wrap_key_data(self.key)
        return jax.random.fold_in(jax.random.fold_in(key, self.update + lag), purpose)


@struct.dataclass
class Schedules:
    """The scheduled values of one update, float32 scalars."""

    learning_rate: jax.Array | np.float32
    clip_range: jax.Array | np.float32
    entropy_coefficient: jax.Array | np.float32
    actor_weight: jax.Array | np.float32
    """0 while the critic alone learns, then 1."""
    kickstart_coefficient: jax.Array | np.float32


@struct.dataclass
class Outcomes:
    """The environments' answers to a rollout's actions; `[T, B]` each."""

    rewards: jax.Array | np.ndarray
    terminated: jax.Array | np.ndarray
    truncated: jax.Array | np.ndarray


@struct.dataclass
class Batch:
    """A rollout ready to learn from."""

    rollout: Rollout
    advantages: jax.Array
    """`[T, B]` float32."""
    returns: jax.Array
    """`[T, B]` float32, the value's targets."""
    order: jax.Array
    """`[epochs, B, T]` int32: the order in which an environment's steps are used."""
    teacher_logits: jax.Array | None = None
    """`[T, B, outputs]` float32; None without a teacher."""

    @property
    def scalars(self) -> dict[str, jax.Array]:
        """What the loss is made of, `[T, B]` each, to explain one that is not finite."""
        rollout = self.rollout
        return {
            "advantages": self.advantages,
            "returns": self.returns,
            "values": rollout.values,
            "final_values": rollout.final_values,
            "log_probs": rollout.log_probs,
        }


@dataclass(frozen=True)
class PPO:
    """The update of one agent."""

    agent: Agent
    config: PPOConfig
    axis_name: str | None = None
    teacher: ActorCritic | None = None
    """The network of a policy that sees the state, to stay near; the states are in the rollout."""

    def create(self, key: jax.Array, observation: Observation) -> TrainState:
        """Return a fresh state; `observation` is one example, `[1, ...]`."""
        variables = dict(self.agent.network.init(key, **observation))
        params = variables.pop("params")
        return TrainState(
            params=params,
            batch_stats=variables,
            optimiser=self._optimiser.init(params),
            reward_scale=adv.RewardScale.create(),
            update=jnp.int32(0),
            minibatch=jnp.int32(0),
            stopped=jnp.bool_(False),
            key=jax.random.key_data(key),
        )

    def prepare(
        self,
        state: TrainState,
        rollouts: Sequence[Rollout],
        outcomes: Sequence[Outcomes],
        newest: Sequence[tuple[Seen, jax.Array]],
        teacher: Variables | None = None,
    ) -> tuple[TrainState, Batch, list[Rollout], Metrics]:
        """Compute advantages, returns and the order of the samples.

        Args:
            state: with the parameters to bootstrap with.
            rollouts: `[T, B]` steps of each group of environments; consumed.
            outcomes: of those steps.
            newest: for each group what the last step led to, and whether it begins an
                episode `[B]`.
            teacher: variables of the teacher's network, if there is one.

        Returns:
            The state at the start of the update, what to learn from, rollouts to collect
            into next, and metrics.
        """
        last_values = [
            self.agent.next_values(state.variables, rollout, seen, first)
            for rollout, (seen, first) in zip(rollouts, newest, strict=True)
        ]
        merged = buffer.merge(rollouts)
        rewards, terminated, truncated = (
            jnp.concatenate([getattr(o, name) for o in outcomes], axis=1)
            for name in ("rewards", "terminated", "truncated")
        )
        ended = terminated | truncated
        reward_sum = merged.reward_sum
        if self.config.normalise_rewards:
            scale, reward_sum, rewards = adv.scale_rewards(
                state.reward_scale,
                reward_sum,
                rewards,
                ended,
                self.config.discount,
                self.axis_name,
            )
            state = replace(state, reward_scale=scale)
        following = jnp.concatenate([merged.values[1:], jnp.concatenate(last_values)[None]])
        advantages = adv.generalised_advantages(
            rewards,
            merged.values,
            jnp.where(truncated, merged.final_values, following),
            terminated,
            ended,
            self.config.discount,
            self.config.gae_lambda,
        )
        returns = advantages + merged.values
        order = self._order(state.key_for(KEY_ORDER), merged)
        metrics = {
            "explained_variance": 1.0
            - self._variance(advantages) / (self._variance(returns) + 1e-8),
            "value": self._mean(merged.values.mean()),
        }
        sums = jnp.split(reward_sum, len(rollouts))
        rollouts = [
            replace(buffer.rewind(rollout), reward_sum=total)
            for rollout, total in zip(rollouts, sums, strict=True)
        ]
        state = replace(state, minibatch=jnp.int32(0), stopped=jnp.bool_(False))
        logits = self._teacher_logits(teacher, merged)
        return state, Batch(merged, advantages, returns, order, logits), rollouts, metrics

    def gradient_step(
        self, state: TrainState, batch: Batch, schedules: Schedules
    ) -> tuple[TrainState, Metrics]:
        """Take one step of Adam on the next minibatch.

        Once the loss or a gradient is not finite (`metrics["finite"]` is then 0), or the update
        has passed its target KL, the rest of the update is skipped: the state stays as it was.
        """
        grads, metrics = self.gradients(state, batch, schedules)
        grads = jax.tree.map_with_path(
            lambda path, grad: grad if _is_critics(path) else schedules.actor_weight * grad, grads
        )
        updates, optimiser = self._optimiser.update(grads, state.optimiser, state.params)
        updates = jax.tree.map(lambda u: -schedules.learning_rate * u, updates)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)
        stopped = state.stopped | ~finite
        if self.config.target_kl is not None:
            stopped = stopped | (metrics["kl"] > 1.5 * self.config.target_kl)
        stepped = replace(
            state, params=optax.apply_updates(state.params, updates), optimiser=optimiser
        )
        state = jax.tree.map(lambda new, old: jnp.where(stopped, old, new), stepped, state)
        metrics |= {"grad_norm": grad_norm, "finite": finite, "skipped": stopped}
        return replace(state, minibatch=state.minibatch + 1, stopped=stopped), metrics

    def gradients(
        self, state: TrainState, batch: Batch, schedules: Schedules
    ) -> tuple[Any, Metrics]:
        """Return gradient and metrics of the current minibatch, the mean over devices."""
        times, envs = self._minibatch(state, batch)
        advantages = batch.advantages[times, envs]
        if self.config.normalise_advantages:
            advantages = normalise(advantages, self.axis_name)
        return self._mean(self._own_gradients(state, batch, schedules, times, envs, advantages))

    def refresh_statistics(self, state: TrainState, batch: Batch) -> TrainState:
        """Close an update: move the norm statistics towards those of its first minibatch.

        A new network has none yet, as its running means of 0 show: they are replaced.
        """
        if state.batch_stats:
            times, envs = self._minibatch(replace(state, minibatch=jnp.int32(0)), batch)
            network = self.agent.network
            _, seen = network.clone(momentum=0.0).apply(
                state.variables,
                **buffer.observations_at(batch.rollout, times, envs),
                train=True,
                mutable=list(state.batch_stats),
            )
            known = jnp.stack([jnp.any(x != 0) for x in _means(state.batch_stats)]).any()
            keep = jnp.where(known, network.momentum, 0.0)
            batch_stats = jax.tree.map(
                lambda old, new: keep * old + (1.0 - keep) * new, state.batch_stats, dict(seen)
            )
            state = replace(state, batch_stats=batch_stats)
        return replace(state, update=state.update + 1)

    def schedules(self, step: int, total_steps: int) -> dict[str, float]:
        """Return the scheduled values after `step` of `total_steps` policy steps."""
        left = max(0.0, 1.0 - step / total_steps)
        config = self.config
        values = {
            name: start * (left if schedule == "linear" else 1.0)
            for name, start, schedule in (
                ("learning_rate", config.learning_rate, config.learning_rate_schedule),
                ("clip_range", config.clip_range, config.clip_range_schedule),
                ("entropy_coefficient", config.entropy_coefficient, config.entropy_schedule),
                ("kickstart_coefficient", config.kickstart_coefficient, config.kickstart_schedule),
            )
        }
        return values | {"actor_weight": float(step >= config.critic_steps)}

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        """Adam without its step size, which `gradient_step` schedules; gradients clipped."""
        return optax.chain(
            optax.clip_by_global_norm(self.config.max_grad_norm), optax.scale_by_adam(eps=1e-5)
        )

    def _teacher_logits(self, variables: Variables | None, rollout: Rollout) -> jax.Array | None:
        """Return what the teacher would do in each state, `[T, B, outputs]`."""
        if self.teacher is None:
            return None
        states = rollout.states
        assert states is not None
        assert variables is not None
        flat = states.reshape(-1, states.shape[-1])
        outputs: Any = self.teacher.apply(variables, state=flat, critic=False)
        logits: jax.Array = outputs[0]
        return logits.reshape(*states.shape[:2], -1)

    def _order(self, key: jax.Array, rollout: Rollout) -> jax.Array:
        """`[epochs, B, T]` permutations that do not depend on the number of devices."""
        keys = jax.random.split(key, self.config.epochs)
        by_step = self.config.minibatch_by == "step"

        def permute(epoch_key: jax.Array, env: jax.Array) -> jax.Array:
            env_key = epoch_key if by_step else jax.random.fold_in(epoch_key, env)
            return jax.random.permutation(env_key, rollout.length)

        return jax.vmap(lambda k: jax.vmap(lambda env: permute(k, env))(rollout.env))(keys)

    def _minibatch(self, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Times and environments `[N]` of the samples of the minibatch at hand."""
        epoch, part = jnp.divmod(state.minibatch, self.config.minibatches)
        envs = batch.order.shape[1]
        size = batch.rollout.length // self.config.minibatches
        times = jax.lax.dynamic_slice_in_dim(batch.order[epoch], part * size, size, axis=1)
        return times.reshape(-1), jnp.repeat(jnp.arange(envs), size)

    def _own_gradients(
        self,
        state: TrainState,
        batch: Batch,
        schedules: Schedules,
        times: jax.Array,
        envs: jax.Array,
        advantages: jax.Array,
    ) -> Any:
        """Gradient and metrics of one minibatch of this device, in microbatches."""
        weights = LossWeights(
            schedules.clip_range,
            schedules.entropy_coefficient,
            self.config.value_coefficient,
            self.config.value_clip,
            schedules.kickstart_coefficient,
        )

        def loss(params: Any, samples: tuple[jax.Array, ...]) -> tuple[jax.Array, Metrics]:
            t, b, advantage = samples
            rollout = batch.rollout
            observations = buffer.observations_at(rollout, t, b)
            logits, values = self.agent.apply({"params": params, **state.batch_stats}, observations)
            distribution = self.agent.actions.distribution
            teacher_kl = None
            if batch.teacher_logits is not None:
                teacher_kl = distribution.kl(batch.teacher_logits[t, b], logits)
            return ppo_loss(
                distribution.log_prob(logits, rollout.actions[t, b]),
                values,
                distribution.entropy(logits),
                rollout.log_probs[t, b],
                rollout.values[t, b],
                advantage,
                batch.returns[t, b],
                weights,
                teacher_kl,
            )

        size = self.config.microbatch_size(len(times))
        gradient = microbatch(jax.grad(loss, has_aux=True), 1, size, AccumulationType.MEAN)
        return gradient(state.params, (times, envs, advantages))

    def _mean(self, tree: Any) -> Any:
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)

    def _variance(self, x: jax.Array) -> jax.Array:
        mean = self._mean(x.mean())
        return self._mean(jnp.square(x - mean).mean())


def _is_critics(path: tuple[Any, ...]) -> bool:
    """Whether a parameter is the critic's own, by its path."""
    return path[0].key in CRITIC


def _means(batch_stats: Any) -> list[jax.Array]:
    """The running means among norm statistics."""
    leaves = jax.tree.leaves_with_path(batch_stats)
    return [x for path, x in leaves if getattr(path[-1], "key", None) == "mean"]
