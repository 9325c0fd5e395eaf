"""Teachers: an expert that drives first, and says what the policy should have done."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from kart_jax.game import RaceConfig
from kart_jax.imitation.demonstrations import Demonstration, Episode, GuidedEnv
from kart_jax.policy.observation import STATE
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.workers.worker import MakeEnv

LABEL_SMOOTHING = 0.02
"""Share of the guide's choices that are learnt as random ones, so that each stays possible."""
NOISE = 0.1
"""Standard deviation around the guide's continuous actions, for the same reason, in units of half
the box's width."""
CHUNK = 1024
"""States that a policy labels at once."""
Acted = Mapping[str, NDArray[Any]]
"""Observations of a group of G environments: `frames [G, S, H, W, C]`, `state [G, D]`."""


class Teacher(Protocol):
    """Drives the first round, and labels every episode with its distributions of actions."""

    def race(self, race: RaceConfig) -> RaceConfig:
        """Return the race with all that the teacher observes."""
        ...

    def environments(self, make: MakeEnv, guided_steps: int) -> MakeEnv:
        """Return what makes the workers' environments, of the environments that `make` makes.

        `guided_steps` is how many steps of each the teacher drives.
        """
        ...

    def act(self, observation: Acted) -> NDArray[Any] | None:
        """Return its actions `[G, ...]` in the first round; None if the environments know them."""
        ...

    def label(self, episode: Episode, first: bool) -> Demonstration:
        """Return what the policy learns from an episode; `first`: of the first round."""
        ...


def make_teacher(spec: PolicySpec, policy: Policy | None, drifting: bool, seed: int) -> Teacher:
    """Return the teacher of a policy of `spec`: the guide, or a policy that sees the state."""
    return Guide(spec, drifting) if policy is None else Coach(spec, policy, seed)


class Guide:
    """The hand-written driver: it knows one action for each state, and acts in the workers."""

    def __init__(self, spec: PolicySpec, drifting: bool) -> None:
        self._spec, self._drifting = spec, drifting

    def race(self, race: RaceConfig) -> RaceConfig:
        """Return the race as it is."""
        return race

    def environments(self, make: MakeEnv, guided_steps: int) -> MakeEnv:
        """Return what makes environments that the guide drives at first."""
        return partial(GuidedEnv, make, guided_steps, self._drifting)

    def act(self, observation: Acted) -> None:
        """Return None: the environments drive."""

    def label(self, episode: Episode, first: bool) -> Demonstration:
        """Return the guide's actions as narrow distributions."""
        actions = self._spec.actions
        spread = LABEL_SMOOTHING if actions.nvec else NOISE
        own = jnp.asarray(episode.info["guide"])
        targets = np.asarray(actions.distribution.around(own, spread))
        return _demonstration(self._spec, episode, targets, episode.info["guided"])


class Coach:
    """A policy that sees the state: it labels whole episodes at once."""

    def __init__(self, spec: PolicySpec, policy: Policy, seed: int) -> None:
        """Teach a policy of `spec`; `seed` is of the first round's actions."""
        self._spec, self._policy = spec, policy
        key = jax.random.key(seed)
        self._keys = (jax.random.fold_in(key, number) for number in itertools.count())

    def race(self, race: RaceConfig) -> RaceConfig:
        """Return the race with the state beside the frames."""
        return replace(race, observation="both") if race.observation == "frames" else race

    def environments(self, make: MakeEnv, guided_steps: int) -> MakeEnv:
        """Return `make`."""
        return make

    def act(self, observation: Acted) -> NDArray[Any]:
        """Return actions at random, as the policy was trained: they lead to more states."""
        return self._policy.act(observation, next(self._keys))

    def label(self, episode: Episode, first: bool) -> Demonstration:
        """Return the policy's distribution in each state."""
        states = episode.seen[STATE]
        chunks = [states[start : start + CHUNK] for start in range(0, len(states), CHUNK)]
        targets = np.concatenate([self._logits(chunk) for chunk in chunks])
        return _demonstration(self._spec, episode, targets, first)

    def _logits(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of at most `CHUNK` states, which are padded: one program serves all."""
        padded = np.zeros((CHUNK, *states.shape[1:]), np.float32)
        padded[: len(states)] = states
        logits, _ = self._policy.logits_and_values({STATE: padded})
        return np.asarray(logits, np.float32)[: len(states)]


def _demonstration(
    spec: PolicySpec, episode: Episode, targets: NDArray[np.float32], guided: bool
) -> Demonstration:
    """Return the demonstration, with no more than the policy sees."""
    seen = {str(name): episode.seen[name] for name in spec.network.sees}
    return Demonstration(seen, targets, episode.rewards, episode.info["summary"], guided)
