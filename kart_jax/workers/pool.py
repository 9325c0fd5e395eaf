"""All environments behind one interface: in supervised processes, or in this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kart_jax.game.config import RaceConfig
from kart_jax.workers.protocol import MemoryLayout, Refused, Slots
from kart_jax.workers.tracks import races_of
from kart_jax.workers.worker import EnvRunner, MakeEnv

Ended = tuple[dict[str, Any], dict[str, Any]]
"""An episode's last info, and the first of the one that follows."""


@dataclass(frozen=True)
class Lost:
    """The worker was lost in this step; its successor's first info."""

    reset_info: dict[str, Any]


Answer = None | Ended | Lost


def derive_seed(*parts: int) -> int:
    """Return a seed from (run's seed, environment, how many workers it has lost).

    Each environment gets its own, and a successor does not repeat its predecessor.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def accepted(answers: list[Any]) -> list[Any]:
    """Return the answers of environments, unless one of them refuses.

    Raises:
        ValueError: names the environment and why.
    """
    for index, answer in enumerate(answers):
        if isinstance(answer, Refused):
            raise ValueError(f"environment {index}: {answer.why}")
    return answers


class Pool(Protocol):
    """What `WorkerGroups` steps."""

    slots: Slots
    losses: int

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Begin an episode everywhere, from `seed` if given; the first infos.

        Raises:
            ValueError: an environment refuses the options; the episodes continue.
        """

    def call(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `EnvRunner` returns, with `arguments` of each environment.

        Raises:
            ValueError: an environment cannot do it.
            RuntimeError: its worker was lost; the next step replaces it.
        """

    def send(self, members: range) -> None:
        """Let `members` step with the actions in the slots."""

    def receive(self, members: range) -> list[Answer]:
        """Return what the steps led to; the arrays are in the slots."""

    def get_states(self) -> list[Any]:
        """Return what each environment's future depends on; None where it cannot be saved."""

    def set_states(self, states: list[Any]) -> None:
        """Restore what `get_states` gave."""

    def close(self) -> None:
        """End everything."""


class SerialPool:
    """The environments in this process, for debugging; a crash ends the run."""

    losses = 0

    def __init__(
        self, make: MakeEnv, race: RaceConfig, layout: MemoryLayout, first: int = 0
    ) -> None:
        """Make the environments; the run counts them from `first`, which decides their seeds."""
        self._first = first
        self.slots = Slots(layout, None)
        races = races_of(race, first, layout.num_envs)
        self._runners = [EnvRunner(make(one), self.slots) for one in races]

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Begin an episode everywhere, from `seed` if given; the first infos."""
        answers = [
            runner.reset(
                index,
                None if seed is None else derive_seed(seed, self._first + index, 0),
                options,
            )
            for index, runner in enumerate(self._runners)
        ]
        return accepted(answers)

    def call(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `EnvRunner` returns, with `arguments` of each environment."""
        return accepted(
            [
                getattr(runner, command)(*given)
                for runner, given in zip(self._runners, arguments, strict=True)
            ]
        )

    def send(self, members: range) -> None:
        """Do nothing: the steps are taken in `receive`."""

    def receive(self, members: range) -> list[Answer]:
        """Step `members`."""
        return [self._runners[i].step() for i in members]

    def get_states(self) -> list[Any]:
        """Return what each environment's future depends on; None where it cannot be saved."""
        states = [runner.get_state() for runner in self._runners]
        return [None if state is None else (0, state) for state in states]

    def set_states(self, states: list[Any]) -> None:
        """Restore what `get_states` gave."""
        for runner, state in zip(self._runners, states, strict=True):
            if state is not None:
                runner.set_state(state[1])

    def close(self) -> None:
        """Close the environments."""
        for runner in self._runners:
            runner.env.close()
