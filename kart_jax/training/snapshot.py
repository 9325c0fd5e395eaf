"""Snapshots between two updates: what a checkpoint holds and a resumed run begins from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kart_jax.run_folder.checkpoints import read_collector
from kart_jax.run_folder.source import Resumed
from kart_jax.training.collector import Collector


@dataclass(frozen=True)
class Snapshot:
    """The state of a run between two updates, beside the learner's."""

    step: int
    """Policy steps taken."""
    evaluated: int
    """Policy steps at the last evaluation that was completed."""
    episodes: list[Mapping[str, Any]]
    """The last episodes, which the running means are taken over."""
    carry: dict[str, Any] | None
    """What collecting carries over from one rollout to the next: the environments' states, the
    newest observations, the counts of their episodes and the heads of the rollouts; None where the
    game cannot save its state, or where the next rollout has begun already (`overlap`)."""


class Snapshots:
    """Takes snapshots of a run, and resumes from one."""

    def __init__(self, collector: Collector, exact: bool) -> None:
        """Watch a collector; `exact` snapshots hold the environments' states too."""
        self.learner = collector.learner
        self._collector, self._envs = collector, collector.envs
        self._exact = exact

    def env_states(self) -> list[Any] | None:
        """Return the environments' states, where a snapshot holds them."""
        return self._envs.get_states() if self._exact else None

    def take(
        self,
        step: int,
        evaluated: int,
        episodes: list[Mapping[str, Any]],
        env_states: list[Any] | None,
    ) -> Snapshot:
        """Return a snapshot of now; the arrays of the rollouts stay on the devices."""
        carry = None
        if self._exact:
            carry = {
                "heads": self.learner.save_heads(self._collector.rollouts),
                "newest": list(self._collector.newest),
                "counts": self._collector.counter.dump(),
                "envs": env_states,
            }
        return Snapshot(step, evaluated, episodes, carry)

    def progress(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the plain values of a snapshot, for JSON."""
        return {
            "step": snapshot.step,
            "evaluated": snapshot.evaluated,
            "episodes": snapshot.episodes,
            "devices": self.learner.devices.count,
        }

    def carry(self, snapshot: Snapshot) -> dict[str, Any] | None:
        """Return the carry of a snapshot, all of it on the host."""
        if snapshot.carry is None:
            return None
        heads = self.learner.devices.shards(snapshot.carry["heads"])
        return {**snapshot.carry, "heads": heads}

    def resume(self, source: Resumed) -> None:
        """Return to the episodes of a checkpoint, if it has them and they fit this run."""
        collector = self._collector
        if not self._exact or source.progress["devices"] != self.learner.devices.count:
            return
        carry = read_collector(source.path, source.progress)
        if carry is None:
            return
        groups = [len(first) for _, first in carry["newest"]]
        if groups != [len(members) for members in self._envs.groups]:
            return
        collector.rollouts = self.learner.load_heads(collector.rollouts, carry["heads"])
        collector.newest = [tuple(newest) for newest in carry["newest"]]
        if "counts" in carry:  # version 0.1 saved none
            collector.counter.restore(carry["counts"])
        self._envs.set_states(carry["envs"])
