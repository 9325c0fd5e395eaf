"""Workers that die, fail or hang are named, replaced, and counted."""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kart_jax.game.config import RaceConfig
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.errors import WorkerLoss, WorkerLostError, WorkersLostError
from kart_jax.workers.pool import Answer, Lost, accepted, derive_seed
from kart_jax.workers.process import WorkerProcess, check_open_files
from kart_jax.workers.protocol import MemoryLayout, Slots
from kart_jax.workers.tracks import races_of
from kart_jax.workers.worker import MakeEnv

logger = logging.getLogger(__name__)

AT_ONCE = 0.001
"""Seconds to wait for an answer that should be there already."""
LEAVE_TIME = 2.0
"""Seconds that workers get to leave by themselves."""


class ProcessPool:
    """One supervised process per environment."""

    def __init__(
        self,
        make: MakeEnv,
        race: RaceConfig,
        layout: MemoryLayout,
        workers: WorkerConfig,
        seed: int,
        first: int = 0,
    ) -> None:
        """Start the processes; they load the game, and begin an episode from `seed`, while
        the trainer continues.

        The run counts their environments from `first`, which decides their seeds too.
        """
        check_open_files(layout.num_envs + workers.spares)
        self._first = first
        self.losses = 0
        self._make, self._layout = make, layout
        self._races = races_of(race, first, layout.num_envs)
        self._workers, self._seed = workers, seed
        self._memory = layout.create_memory()
        self.slots = Slots(layout, self._memory)
        self._in_a_row: dict[int, list[WorkerLoss]] = {}
        self._incarnations = [0] * layout.num_envs
        self._spares: list[WorkerProcess] = []
        self._processes = [self._spawn(index) for index in range(layout.num_envs)]
        self._call_reset(seed, None)
        self._begun = True

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Begin an episode everywhere, from `seed` if given; the first infos.

        Raises:
            ValueError: an environment refuses the options; the episodes continue.
            WorkersLostError: one environment has lost too many workers in a row.
        """
        everyone = range(len(self._processes))
        if not (self._begun and seed == self._seed and options is None):
            if self._begun:
                self._answers(everyone)  # of episodes that are not needed
            self._call_reset(seed, options)
        self._begun = False
        answers = self._answers(everyone)
        lost = [index for index, answer in answers.items() if isinstance(answer, WorkerLoss)]
        answers |= self._replace(lost, options)
        self._refill()
        return accepted(list(answers.values()))

    def call(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `EnvRunner` returns, with `arguments` of each environment.

        Raises:
            ValueError: an environment cannot do it.
            RuntimeError: its worker was lost; the next step replaces it.
        """
        for process, given in zip(self._processes, arguments, strict=True):
            process.call(command, *given)
        answers = self._answers(range(len(self._processes)))
        for answer in answers.values():
            if isinstance(answer, WorkerLoss):
                raise RuntimeError(str(answer))
        return accepted(list(answers.values()))

    def _call_reset(self, seed: int | None, options: dict[str, Any] | None) -> None:
        if seed is not None:
            self._seed, self._incarnations = seed, [0] * len(self._processes)
        for index, process in enumerate(self._processes):
            process.call("reset", index, None if seed is None else self._seed_of(index), options)

    def send(self, members: range) -> None:
        """Let `members` step with the actions in the slots."""
        for index in members:
            self._processes[index].step()

    def receive(self, members: range) -> list[Answer]:
        """Return what the steps led to; waits until successors of lost workers have begun.

        Raises:
            WorkersLostError: one environment has lost too many workers in a row.
        """
        answers = self._answers(members)
        lost = [index for index, answer in answers.items() if isinstance(answer, WorkerLoss)]
        if self._in_a_row:
            for index in set(members) - set(lost):
                self._in_a_row.pop(index, None)
        if lost:
            answers |= {index: Lost(info) for index, info in self._replace(lost, None).items()}
            self._refill()
        return list(answers.values())

    def get_states(self) -> list[Any]:
        """Return what each environment's future depends on; None where it cannot be saved.

        It is None too for a worker that just died, whose loss the next step reports.
        """
        for process in self._processes:
            process.call("get_state")
        answers = self._answers(range(len(self._processes)))
        return [
            None
            if answer is None or isinstance(answer, WorkerLoss)
            else (self._incarnations[index], answer)
            for index, answer in answers.items()
        ]

    def set_states(self, states: list[Any]) -> None:
        """Restore what `get_states` gave."""
        restored = [index for index, state in enumerate(states) if state is not None]
        for index in restored:
            self._incarnations[index], state = states[index]
            self._processes[index].call("set_state", state)
        self._answers(restored)

    def close(self) -> None:
        """End the processes, by force where they do not leave at once."""
        processes = [*self._processes, *self._spares]
        for process in processes:
            process.hang_up()
        deadline = time.monotonic() + LEAVE_TIME
        for process in processes:
            process.end(max(0.0, deadline - time.monotonic()))
        os.close(self._memory)

    def _answers(self, members: Iterable[int]) -> dict[int, Any]:
        """Each member's answer, or its `WorkerLoss`."""
        answers: dict[int, Any] = {}
        hung = False
        for index in members:
            process = self._processes[index]
            patience = (
                self._workers.step_timeout if process.started else self._workers.start_timeout
            )
            try:
                answers[index] = process.answer(AT_ONCE if hung else patience)
            except WorkerLostError as error:
                answers[index] = error.loss
                hung = hung or error.hung  # the others had as much time
        return answers

    def _replace(self, lost: list[int], options: dict[str, Any] | None) -> dict[int, Any]:
        """Put successors in place of `lost` workers; their first infos."""
        infos: dict[int, Any] = {}
        while lost:
            for index in lost:
                self._count(index)
                self._incarnations[index] += 1
                self._processes[index] = self._take_spare(index) or self._spawn(index)
                self._processes[index].call("reset", index, self._seed_of(index), options)
            infos |= self._answers(lost)
            lost = [index for index in lost if isinstance(infos[index], WorkerLoss)]
        return infos

    def _take_spare(self, index: int) -> WorkerProcess | None:
        """Return a spare for environment `index`, which is ready sooner than a new worker."""
        while self._spares:
            spare = self._spares.pop(0)
            if spare.alive:
                spare.index = index
                return spare
            spare.end(0.0)
        return None

    def _refill(self) -> None:
        """Start the missing spares, without waiting for them.

        There are none where environments keep different tracks: no one knows which will be needed.
        """
        if len(set(self._races)) > 1:
            return
        while len(self._spares) < self._workers.spares:
            self._spares.append(self._spawn(None))

    def _count(self, index: int) -> None:
        loss = self._processes[index].loss
        assert loss is not None
        loss = replace(loss, track=self.slots.tracks[index].decode())
        logger.warning("%s", loss)
        self.losses += 1
        in_a_row = self._in_a_row.setdefault(index, [])
        in_a_row.append(loss)
        if len(in_a_row) > self._workers.max_losses:
            raise WorkersLostError(in_a_row, self._workers.max_losses)

    def _spawn(self, index: int | None) -> WorkerProcess:
        race = self._races[index or 0]
        return WorkerProcess(self._make, race, self._layout, self._memory, index)

    def _seed_of(self, index: int) -> int:
        return derive_seed(self._seed, self._first + index, self._incarnations[index])
