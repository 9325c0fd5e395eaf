"""Driving whole episodes, which a teacher labels. Imports no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls, closest_actions
from kart_jax.workers.batch import StepBatch
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.observer import Observer, VectorAct
from kart_jax.workers.worker import MakeEnv


@dataclass(frozen=True)
class Demonstration:
    """One episode of T steps, and what the teacher would have done in each."""

    seen: Mapping[str, NDArray[Any]]
    """The newest `frames [T, H, W, C]` before each step, the `state [T, D]`, or both."""
    targets: NDArray[np.float32]
    """`[T, outputs]`, the teacher's distribution of actions, as logits."""
    rewards: NDArray[np.float32]
    """`[T]`, of the actions that were taken."""
    summary: dict[str, Any]
    """`info["summary"]`."""
    guided: bool
    """Whether the teacher drove."""


@dataclass(frozen=True)
class Episode:
    """One episode of T steps, before a teacher labels it."""

    seen: Mapping[str, NDArray[Any]]
    """As a demonstration's."""
    rewards: NDArray[np.float32]
    """`[T]`, of the actions that were taken."""
    info: dict[str, Any]
    """The environment's last."""


class _Guided(Protocol):
    config: RaceConfig

    def guide(self, drifting: bool) -> Controls: ...


def guided_action(env: gymnasium.Env[Any, Any], drifting: bool = False) -> Any:
    """Return the action that the guide would take next in a race, a member of its space."""
    race: _Guided = env.unwrapped  # type: ignore[assignment]
    return closest_actions(race.config.action_set, np.array([race.guide(drifting)], np.float32))[0]


class GuidedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A worker's environment whose last info of an episode has the guide's actions.

    The guide drives episodes that begin within the first `guided_steps` steps, also those of a
    lost worker's successor.
    """

    def __init__(self, make: MakeEnv, guided_steps: int, drifting: bool, race: RaceConfig) -> None:
        super().__init__(make(race))
        self._drifting = drifting
        self._guided_steps = guided_steps
        self._steps = 0
        self._actions: list[Any] = []
        self._guided = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._actions = []
        self._guided = self._steps < self._guided_steps
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Drive; `action` counts only where the guide does not drive."""
        own = guided_action(self.env, self._drifting)
        self._actions.append(own)
        self._steps += 1
        observation, reward, terminated, truncated, info = self.env.step(
            own if self._guided else action
        )
        if terminated or truncated:
            info = {**info, "guide": np.array(self._actions), "guided": self._guided}
        return observation, reward, terminated, truncated, info


@dataclass
class _Current:
    """The current episode of one environment."""

    seen: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class Demonstrator:
    """Drives in all environments, and collects episodes."""

    def __init__(self, envs: WorkerGroups, stack: int) -> None:
        """Begin an episode in every environment."""
        self._envs = envs
        batches = envs.start()
        self._observers = [Observer(batch, stack) for batch in batches]
        self._episodes = [[_Current() for _ in batch.first] for batch in batches]

    def drive(self, act: VectorAct, steps: int) -> list[Episode]:
        """Drive until the episodes that ended have `steps` steps together, or more.

        Raises:
            WorkersLostError: the game cannot run.
        """
        ended: list[Episode] = []
        for group in range(len(self._observers)):
            self._send(group, act)
        while sum(len(episode.rewards) for episode in ended) < steps:
            for group in range(len(self._observers)):
                ended += self._receive(group, self._envs.receive(group))
                self._send(group, act)
        for group in range(len(self._observers)):
            ended += self._receive(group, self._envs.receive(group))
        return ended

    def _send(self, group: int, act: VectorAct) -> None:
        newest = self._observers[group].newest()
        for place, episode in enumerate(self._episodes[group]):
            episode.seen.append({name: part[place] for name, part in newest.items()})
        self._envs.send(group, act(self._observers[group].observation()))

    def _receive(self, group: int, batch: StepBatch) -> list[Episode]:
        """Store a step; return the episodes that ended, without those of lost workers."""
        ended = []
        self._observers[group].push(batch)
        for place, episode in enumerate(self._episodes[group]):
            episode.rewards.append(float(batch.rewards[place]))
            if not batch.first[place]:
                continue
            info = batch.final_infos.get(place)
            if info is not None:
                ended.append(_whole(episode, info))
            self._episodes[group][place] = _Current()
        return ended


def _whole(current: _Current, info: dict[str, Any]) -> Episode:
    names = current.seen[0]
    seen = {name: np.stack([one[name] for one in current.seen]) for name in names}
    return Episode(seen, np.array(current.rewards, np.float32), info)
