"""Collect rollouts: step the workers with the policy, group by group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kart_jax.policy.observation import FRAMES, STATE, Seen
from kart_jax.ppo.buffer import Rollout
from kart_jax.ppo.update import Outcomes
from kart_jax.training.learner import Actor, Learner
from kart_jax.training.metrics import EpisodeCounter, Stopwatch
from kart_jax.training.signals import StopRequest
from kart_jax.workers.batch import StepBatch
from kart_jax.workers.groups import WorkerGroups


@dataclass
class Collected:
    """What the host learns from one rollout."""

    outcomes: list[Outcomes]
    """Host arrays `[T, B]`, one for each group."""
    newest: list[tuple[Seen, np.ndarray]]
    """Each group's newest observation, and whether it begins an episode `[B]`."""
    episodes: list[dict[str, Any]] = field(default_factory=list)
    """Episodes that ended; see `EpisodeCounter`."""
    bytes_sent: int = 0
    """Bytes sent to the devices: observations, flags and outcomes."""
    losses: int = 0
    """Workers lost and replaced so far."""
    env_states: list[Any] | None = None
    """The environments' states after the last step, where a snapshot holds them."""


class RewardError(RuntimeError):
    """A reward of an environment is not finite."""


class Collector:
    """Steps the groups of workers in turn: while one simulates, the policy acts for another."""

    def __init__(
        self,
        envs: WorkerGroups,
        learner: Learner,
        rollouts: Sequence[Rollout],
        stopwatch: Stopwatch,
        stop: StopRequest,
    ) -> None:
        self.envs = envs
        self.learner = learner
        self.rollouts = list(rollouts)
        self._stopwatch = stopwatch
        self._stop = stop
        self._parts = tuple(learner.ppo.agent.example())
        self.counter = EpisodeCounter([len(members) for members in envs.groups])
        self.newest: list[tuple[Seen, np.ndarray]] = []
        """Each group's newest observation, to act on next, and whether it begins an episode."""

    def start(self) -> None:
        """Begin an episode in every environment."""
        with self._stopwatch("start workers"), self._stop.interrupting():
            self.newest = [(self._seen(b.frames, b.states), b.first) for b in self.envs.start()]

    def collect(self, actor: Actor, between: Callable[[], Any]) -> Collected:
        """Take T steps in every environment.

        Args:
            actor: the policy to act with.
            between: called after each group's actions were sent, to work while it simulates.

        Raises:
            Interrupted: a stop was requested; drop the rollouts and the environments.
            RewardError: a reward is not finite.
            WorkersLostError: one environment lost too many workers in a row.
        """
        length = self.learner.ppo.config.rollout_length
        groups = range(len(self.rollouts))
        outcomes = [
            Outcomes(
                rewards=np.zeros((length, len(first)), np.float32),
                terminated=np.zeros((length, len(first)), bool),
                truncated=np.zeros((length, len(first)), bool),
            )
            for _, first in self.newest
        ]
        collected = Collected(outcomes, [])
        for t in range(length + 1):
            for group in groups:
                if t > 0:
                    self._receive(actor, group, t - 1, collected)
                if t < length:
                    collected.bytes_sent += _size(self.newest[group])
                    self._act(actor, group)
                    between()
                    self._stop.check()
        collected.newest, collected.losses = list(self.newest), self.envs.losses
        collected.bytes_sent += _size((collected.newest, outcomes))  # the update sends these too
        return collected

    def _act(self, actor: Actor, group: int) -> None:
        with self._stopwatch("act"):
            self.rollouts[group], actions = self.learner.act(
                actor, self.rollouts[group], *self.newest[group]
            )
        self.envs.send(group, actions)

    def _receive(self, actor: Actor, group: int, t: int, collected: Collected) -> None:
        """Store the outcome of step `t` of a group, and its newest observation."""
        with self._stopwatch("simulate (wait)"), self._stop.interrupting():
            batch: StepBatch = self.envs.receive(group)
        self._check_rewards(group, batch.rewards)
        outcome = collected.outcomes[group]
        outcome.rewards[t] = batch.rewards
        outcome.terminated[t] = batch.terminated
        outcome.truncated[t] = batch.truncated
        collected.episodes += self.counter.add(group, batch)
        self.newest[group] = (self._seen(batch.frames, batch.states), batch.first)
        if batch.truncated.any():
            final = self._seen(batch.final_frames, batch.final_states)
            collected.bytes_sent += _size((final, batch.truncated))
            with self._stopwatch("act"):
                self.rollouts[group] = self.learner.record_final_values(
                    actor, self.rollouts[group], final, batch.truncated
                )

    def _check_rewards(self, group: int, rewards: np.ndarray) -> None:
        if not np.isfinite(rewards).all():
            place = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise RewardError(
                f"environment {self.envs.groups[group][place]} returned the reward "
                f"{rewards[place]}: its reward, or a wrapper around it, must return finite numbers"
            )

    def _seen(self, frames: np.ndarray | None, states: np.ndarray | None) -> Seen:
        """Return the parts of an observation that the network sees."""
        observed = {FRAMES: frames, STATE: states}
        return {name: observed[name] for name in self._parts}


def _size(arrays: Any) -> int:
    """Return the bytes of a tree of host arrays."""
    return sum(array.nbytes for array in jax.tree.leaves(arrays))
