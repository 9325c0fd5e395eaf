"""The guide: a driver that knows where the road is, to teach policies that only see it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine, Place
from kart_jax.game.engine.world import Item, KartState

Point = npt.NDArray[np.float64]

LOOK_AHEAD = 0.88
"""Seconds of driving to the point of the centre line that is steered for."""
SHORTEST = 6.0
"""Metres to that point at least."""
GAIN = 3.1
"""Steering for each radian between the kart's heading and that point."""

LIFT, BRAKE = 1.3, 1.8
"""Steering, either way, from which on it lets go of the throttle, and brakes..."""
FAST = 20.0
"""... above these metres a second."""
SLOW = 3.0
"""Metres a second below which a kart backs away from what it faces..."""
AWAY = 0.5
"""... if it points away from the road by more than these radians..."""
AROUND = math.pi / 2
"""... or, wherever it stands, by more than these."""

NITRO_AHEAD = 0.63
"""Seconds of driving within which nitro on the road is steered for."""
NITRO_ASIDE = 0.36
"""Metres to the side, for each metre ahead, that are gone for it..."""
NITRO_WIDTH = 0.6
"""... and these besides."""
NITRO_BELOW = 0.3
"""Steering, either way, below which nitro is used; without any collected nothing happens."""
TOO_CLOSE = 2.0
"""Metres ahead within which an item is not steered for any more."""
CLEARANCE = 2.3
"""Metres by which a hazard is passed."""
DEAD_AHEAD = 0.5
"""Metres to the side within which a hazard is as good as straight ahead."""

TURN_FROM, TURN_TO = 0.6, 1.55
"""Seconds of driving ahead between which the road's turn decides on drifting."""
TURN = 0.32
"""Radians of turn that are worth it, which is paid for with a burst of speed afterwards."""
STRAIGHT = 0.09
"""Radians below which it ends."""
STEER_IN = 0.3
"""Steering into the turn from which drifting begins."""
STEER_OUT, STEER_MORE = -0.09, 1.5
"""Steering into the turn between which drifting continues; a drifting kart turns less sharply."""
DRIFT_SPEED = 12.0
"""Metres a second from which drifting begins."""
DRIFT_STEER, DRIFT_RANGE = 0.8, 1.0
"""A drifting kart turns by itself: what it turns with the wheel straight, as steering without
drift, and how much the wheel changes that."""


@dataclass(frozen=True)
class _Spot:
    """Where an item lies."""

    location: Point
    place: Place
    hazard: bool


class Guide:
    """Drives one track: full throttle towards a point of the centre line ahead.

    Pure pursuit (Coulter 1992, "Implementation of the pure pursuit path tracking
    algorithm"), with steering in proportion to the angle instead of the curvature.
    It lets go or brakes where the kart cannot turn as sharply as it must, collects nitro and goes
    round hazards. Its action depends on the present state alone, so that it is defined in
    every state, whichever driver led there.
    """

    def __init__(self, line: CentreLine, items: Sequence[Item]) -> None:
        """Know the road and what lies on it."""
        self._line = line
        self._spots = [
            _Spot(item.location, line.locate(item.location), item.kind == "hazard")
            for item in items
            if item.kind in ("nitro", "hazard")
        ]

    def controls(self, place: Place, kart: KartState, drifting: bool = False) -> Controls:
        """Return what to do with a kart in this state at this place.

        Args:
            place: where the kart is.
            kart: its state.
            drifting: drift through turns, for the burst of speed that follows: up to an
                eighth faster, and harder to do well.
        """
        reach = max(LOOK_AHEAD * kart.speed, SHORTEST)
        target, _ = self._line.follow(place, reach)
        nitro = self._nitro_near(place, kart.speed)
        angle = _angle_to(target if nitro is None else nitro, kart)
        off = _turned(kart.heading - place.direction)
        if kart.speed < SLOW and abs(off) > AWAY and (off * place.lateral > 0 or abs(off) > AROUND):
            return Controls(steer=math.copysign(1.0, off), brake=True)
        wanted = GAIN * self._past_hazards(angle, place, kart, reach)
        skid = self._drift(place, kart, wanted) if drifting else None
        fast = kart.speed > FAST and not drifting
        return Controls(
            steer=min(max(wanted, -1.0), 1.0) if skid is None else skid,
            acceleration=float(not fast or abs(wanted) < LIFT),
            brake=fast and abs(wanted) > BRAKE,
            drift=skid is not None,
            nitro=abs(wanted) < NITRO_BELOW,
        )

    def _drift(self, place: Place, kart: KartState, wanted: float) -> float | None:
        """How to steer in a drift, None for no drift; `wanted` is the steering without."""
        _, begins_at = self._line.follow(place, TURN_FROM * max(kart.speed, 0.0))
        _, ends_at = self._line.follow(place, TURN_TO * max(kart.speed, 0.0))
        turn = _turned(ends_at - begins_at)
        side = math.copysign(1.0, turn)
        into = side * wanted
        if kart.skid > 1.0:
            if abs(turn) > STRAIGHT and STEER_MORE > into > STEER_OUT:
                return side * min(max((into - DRIFT_STEER) / DRIFT_RANGE, -1.0), 1.0)
            return None
        begins = abs(turn) > TURN and into > STEER_IN and kart.speed > DRIFT_SPEED and kart.on_road
        return side if begins else None

    def _nitro_near(self, place: Place, speed: float) -> Point | None:
        """The closest nitro ahead that is hardly out of the way."""
        furthest = NITRO_AHEAD * speed
        within = [
            (ahead, spot.location)
            for spot in self._spots
            if not spot.hazard
            and TOO_CLOSE < (ahead := self._ahead(spot, place)) < furthest
            and abs(spot.place.lateral - place.lateral) < NITRO_ASIDE * ahead + NITRO_WIDTH
        ]
        return min(within, key=lambda spot: spot[0])[1] if within else None

    def _past_hazards(self, angle: float, place: Place, kart: KartState, reach: float) -> float:
        """The angle to steer for, turned away from the hazards within `reach` that it meets."""
        for spot in self._spots:
            if not spot.hazard or not TOO_CLOSE < self._ahead(spot, place) < reach:
                continue
            towards = _angle_to(spot.location, kart)
            metres = float(np.linalg.norm((spot.location - kart.location)[[0, 2]]))
            right = metres * math.sin(towards - angle)  # of the way that is steered for
            if abs(right) < CLEARANCE:
                # Dead ahead: on the side where there is more road.
                left = right > 0 if abs(right) > DEAD_AHEAD else spot.place.lateral > 0
                angle = towards + (-1 if left else 1) * math.atan2(CLEARANCE, metres)
        return angle

    def _ahead(self, spot: _Spot, place: Place) -> float:
        """Metres along the road to an item, up to a lap."""
        return (spot.place.along - place.along) % self._line.length


def _angle_to(point: Point, kart: KartState) -> float:
    """Radians from the kart's heading to a point [3], to the right positive."""
    away = point - kart.location
    return _turned(math.atan2(away[0], away[2]) - kart.heading)


def _turned(angle: float) -> float:
    """The same angle between -pi and pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
