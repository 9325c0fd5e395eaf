"""Running means of episodes, and the time of each stage."""

import copy
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kart_jax.workers.batch import StepBatch

EPISODES = 100
"""Episodes that the running means are taken over."""
RACES = {"progress_m": "progress_m", "finish_rate": "finished", "finish_time": "finish_time"}
"""Means of episodes that are whole races: logged name, and field of an episode."""
ALL = RACES | {name: name for name in ("return", "length", "progress_fraction")}
"""Means of all episodes."""


class Stopwatch:
    """Seconds spent in named stages; a stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a `with`."""
        outer, self._inner = self._inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[stage] += elapsed - self._inner
            self._inner = outer + elapsed

    def table(self) -> str:
        """Return a line for each stage: its name, seconds and share."""
        total = sum(self.seconds.values()) or 1.0
        stages = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\n".join(f"  {s:<18}{t:9.1f} s {100 * t / total:5.1f} %" for s, t in stages)


class EpisodeWindow:
    """The last episodes, whose means are logged."""

    def __init__(self, episodes: Sequence[Mapping[str, Any]] = ()) -> None:
        self._episodes: deque[Mapping[str, Any]] = deque(episodes, maxlen=EPISODES)

    def extend(self, episodes: Sequence[Mapping[str, Any]]) -> None:
        """Add episodes that ended."""
        self._episodes.extend(episodes)

    def dump(self) -> list[Mapping[str, Any]]:
        """Return the episodes, oldest first, as plain values."""
        return list(self._episodes)

    def means(self) -> dict[str, float]:
        """Return running means, empty before the first episode."""
        every = list(self._episodes)
        whole = [episode for episode in every if episode.get("on_grid")]
        means = {f"episode/{name}": mean for name, mean in _means(every, ALL).items()}
        return means | {f"grid/{name}": mean for name, mean in _means(whole, RACES).items()}


def _means(episodes: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, float]:
    """Return means of an episode's fields, by their logged names, without those of no value."""
    # An episode that a wrapper cut off has no summary of the game; one that failed, no time.
    found = {
        logged: [float(one[name]) for one in episodes if name in one and np.isfinite(one[name])]
        for logged, name in names.items()
    }
    return {logged: float(np.mean(values)) for logged, values in found.items() if values}


class EpisodeCounter:
    """Counts the rewards and steps that the trainer receives, after all wrappers."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Begin an episode in every environment of groups of these sizes."""
        self.returns = [np.zeros(size) for size in sizes]
        self.lengths = [np.zeros(size, int) for size in sizes]

    def add(self, group: int, batch: StepBatch) -> list[dict[str, Any]]:
        """Add a group's step; return the episodes that ended, without lost ones.

        Each has its `return` and `length`, and the environment's `info["summary"]`.
        """
        self.returns[group] += batch.rewards
        self.lengths[group] += 1
        ended = [
            {
                **batch.final_infos.get(place, {}).get("summary", {}),
                "return": float(self.returns[group][place]),
                "length": float(self.lengths[group][place]),
            }
            for place in np.flatnonzero(batch.first & ~batch.lost).tolist()
        ]
        self.returns[group][batch.first] = 0.0
        self.lengths[group][batch.first] = 0
        return ended

    def dump(self) -> dict[str, Any]:
        """Return a copy of the counts."""
        return copy.deepcopy(vars(self))

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Continue from the counts that `dump` returned."""
        for name, of_groups in counts.items():
            setattr(self, name, [np.array(array) for array in of_groups])
