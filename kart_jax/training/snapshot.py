"""The moment between two updates that a checkpoint holds and a resumed run begins from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kart_jax.policy.observation import Seen
from kart_jax.run_folder.plain import from_plain, to_plain
from kart_jax.training.collector import Collector

Plain = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """One such moment; the learner's state of that moment is saved beside it."""

    step: int
    """Policy steps taken."""
    evaluated: int
    """Policy steps at the last evaluation that came to its end."""
    episodes: list[Mapping[str, Any]]
    """The last episodes, which the running means are taken over."""
    carry: Plain | None
    """What collecting carries over from one rollout to the next: the environments' states, the
    newest observations and the heads of the rollouts; None where the game cannot save its state,
    or where the next rollout has begun already (`overlap`)."""


class Snapshots:
    """Takes snapshots of a run, and resumes from one."""

    def __init__(self, collector: Collector, exact: bool) -> None:
        """Watch what collects; `exact` snapshots hold the environments' states too."""
        self._collector, self._learner, self._envs = collector, collector.learner, collector.envs
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
        """Return this moment's; the arrays of the rollouts stay on the devices."""
        carry = None
        if self._exact:
            carry = {
                "heads": self._learner.save_heads(self._collector.rollouts),
                "newest": list(self._collector.newest),
                "envs": env_states,
            }
        return Snapshot(step, evaluated, episodes, carry)

    def to_plain(self, snapshot: Snapshot) -> Plain:
        """Return a snapshot as plain JSON values."""
        devices, carry = self._learner.devices, snapshot.carry
        if carry is not None:
            carry = to_plain({**carry, "heads": devices.shards(carry["heads"])})
        return {
            "step": snapshot.step,
            "evaluated": snapshot.evaluated,
            "episodes": to_plain(snapshot.episodes),
            "collector": carry,
            "devices": devices.count,
        }

    def resume(self, saved: Plain) -> None:
        """Go back amid the episodes of a snapshot, if it has them and they fit this run.

        `saved` is what `to_plain` gave.
        """
        carry, collector = saved["collector"], self._collector
        if not self._exact or carry is None or saved["devices"] != self._learner.devices.count:
            return
        carry = from_plain(carry)
        groups = [len(first) for _, first in carry["newest"]]
        if groups != [len(members) for members in self._envs.groups]:
            return
        collector.rollouts = self._learner.load_heads(collector.rollouts, carry["heads"])
        collector.newest = [_newest(*newest) for newest in carry["newest"]]
        self._envs.set_states(carry["envs"])


def _newest(seen: Any, first: Any) -> tuple[Seen, Any]:
    """A group's newest observations; version 0.1 saved the frames alone."""
    return (seen if isinstance(seen, dict) else {"frames": seen}), first
