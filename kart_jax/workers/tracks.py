"""Which environment races on which track, where a process keeps its track."""

from dataclasses import replace

import numpy as np

from kart_jax.game import RaceConfig


def races_of(race: RaceConfig, first: int, count: int) -> list[RaceConfig]:
    """Return the races of environments, which the run counts from `first`.

    Where nothing is drawn a process keeps its one track, so the environments take the tracks in
    turn, each as often as its weight says; otherwise all draw from all of them.
    """
    if race.draws or len(race.track) == 1:
        return [race] * count
    weights = np.array(race.track_weights or [1.0] * len(race.track))
    weights /= weights.sum()
    given = np.zeros(len(weights), int)
    numbers = []
    for turn in range(1, first + count + 1):  # the track that lags most behind its weight is next
        numbers.append(int(np.argmax(weights * turn - given)))
        given[numbers[-1]] += 1
    return [replace(race, track=(race.track[n],), track_weights=()) for n in numbers[first:]]
