"""The guide: a driver that knows where the road is, to teach policies that only see it."""

import math

import numpy as np

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine, Place
from kart_jax.game.race import KartState

LOOK_AHEAD = 0.9
"""Seconds of driving to the point of the centre line that is steered for."""
SHORTEST = 6.0
"""Metres to that point at least."""
GAIN = 3.0
"""Steering for each radian between the kart's heading and that point."""

NITRO_BELOW = 0.2
"""Steering, either way, below which nitro is used; without any collected nothing happens."""


def guide(line: CentreLine, place: Place, kart: KartState) -> Controls:
    """Full throttle towards a point of the centre line ahead.

    Pure pursuit (Coulter 1992, "Implementation of the pure pursuit path tracking
    algorithm"), with steering in proportion to the angle instead of the curvature.
    """
    metres = max(LOOK_AHEAD * kart.speed, SHORTEST)
    point, _ = line.point((place.along + metres) % line.length)
    away = point - np.asarray(kart.location, np.float64)
    angle = math.atan2(away[0], away[2]) - kart.heading
    angle = (angle + math.pi) % (2 * math.pi) - math.pi
    steer = min(max(GAIN * angle, -1.0), 1.0)
    return Controls(steer=steer, acceleration=1.0, nitro=abs(steer) < NITRO_BELOW)
