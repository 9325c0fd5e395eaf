"""Which environment races on which track, where an environment keeps its track."""

from dataclasses import replace

import numpy as np

from kart_jax.game import RaceConfig


def races_of(race: RaceConfig, first: int, count: int) -> list[RaceConfig]:
    """Return the races of environments, which the run counts from `first`.

    The environments take the tracks in turn, each as often as its weight says, and keep them: to
    begin on the same track takes milliseconds, to load another one seconds, and a process that
    draws no frames cannot. Where there are more tracks than environments, and frames, all draw
    from all tracks at each reset.
    """
    if len(race.track) == 1 or (race.draws and count < len(race.track)):
        return [race] * count
    weights = np.array(race.track_weights or [1.0] * len(race.track))
    weights /= weights.sum()
    given = np.zeros(len(weights), int)
    numbers = []
    for turn in range(1, first + count + 1):  # the track that lags most behind its weight is next
        numbers.append(int(np.argmax(weights * turn - given)))
        given[numbers[-1]] += 1
    return [replace(race, track=(race.track[n],), track_weights=()) for n in numbers[first:]]
