"""The state: what a driver needs to know, as a vector of float32.

`FIELDS` names its entries in order, with their units and scales: an entry is the quantity divided
by its scale, and not beyond `LIMIT` either way. Right, up and ahead are those of the kart on level
ground: its heading counts, its pitch and roll do not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import Place
from kart_jax.game.engine.race import Item, KartState
from kart_jax.game.rewards import NOTHING
from kart_jax.game.road import Road, Stretch

Floats = npt.NDArray[np.float64]
State = npt.NDArray[np.float32]

LIMIT = 5.0
"""The largest entry; what falls off the track goes beyond it."""

AHEAD = (4, 8, 12, 16, 22, 30, 40, 50, 65, 80)
"""Metres of road to the points of the centre line that are described."""
TURNS = (10, 25, 50, 100)
"""Metres of road at which it is told how far the road has turned."""
ITEMS = ("nitro", "box", "hazard")
NEAREST = 3
"""How many of the nearest items of each kind are described, and of the other karts."""
ITEM_RANGE = 50.0
"""Metres ahead within which items are described..."""
ITEM_HEIGHT = 8.0
"""... and up or down: others lie on a road above or below."""
PASSED = -2.0
"""Metres ahead at which an item counts as passed."""
KART_RANGE = 50.0
"""Metres around within which other karts are described."""
POWERUPS = ("ZIPPER", "BUBBLEGUM", "CAKE", "BOWLING", "PLUNGER", "SWATTER")
"""Those that have an entry of their own, by the game's names; all others share one."""
ATTACHMENTS = ("PARACHUTE", "ANVIL", "BOMB", "BUBBLEGUM_SHIELD")
"""What sticks to a kart and counts, by the game's names."""
LEVELS = (1.0, 3.0)
"""Seconds of skidding that earn a burst of speed, and a stronger one."""


class Field(NamedTuple):
    """One entry of the state."""

    name: str
    unit: str
    """`m`, `m/s`, `rad`, `rad/s`, `s`, `laps`, or `1` for a part of a whole, a count, or yes (1)
    and no (0)."""
    scale: float
    """What the quantity is divided by."""


def _item_fields() -> list[Field]:
    fields = []
    for kind in ITEMS:
        for number in range(1, NEAREST + 1):
            name = f"{kind}_{number}"
            fields += [
                Field(f"{name}_present", "1", 1.0),
                Field(f"{name}_right", "m", 10.0),
                Field(f"{name}_ahead", "m", 25.0),
                Field(f"{name}_up", "m", 5.0),
            ]
    return fields


def _road_fields() -> list[Field]:
    fields = []
    for metres in AHEAD:
        fields += [
            Field(f"road_{metres}_right", "m", float(metres)),
            Field(f"road_{metres}_ahead", "m", float(metres)),
            Field(f"road_{metres}_up", "m", float(metres)),
            Field(f"road_{metres}_half_width", "m", 10.0),
        ]
    return fields


def _kart_fields() -> list[Field]:
    fields = []
    for number in range(1, NEAREST + 1):
        name = f"kart_{number}"
        fields += [
            Field(f"{name}_present", "1", 1.0),
            Field(f"{name}_right", "m", 10.0),
            Field(f"{name}_ahead", "m", 20.0),
            Field(f"{name}_up", "m", 5.0),
            Field(f"{name}_velocity_right", "m/s", 10.0),
            Field(f"{name}_velocity_ahead", "m/s", 10.0),
        ]
    return fields


FIELDS: tuple[Field, ...] = (
    # Motion.
    Field("speed", "m/s", 30.0),
    Field("velocity_right", "m/s", 10.0),
    Field("velocity_up", "m/s", 10.0),
    Field("velocity_ahead", "m/s", 30.0),
    Field("yaw_rate", "rad/s", 2.0),
    Field("pitch", "rad", 0.5),
    Field("roll", "rad", 0.5),
    Field("on_road", "1", 1.0),
    Field("jumping", "1", 1.0),
    # The place on the road.
    Field("heading_sin", "1", 1.0),
    Field("heading_cos", "1", 1.0),
    Field("lateral", "m", 10.0),
    Field("half_width", "m", 10.0),
    Field("room_left", "m", 10.0),
    Field("room_right", "m", 10.0),
    Field("height", "m", 5.0),
    # The road ahead.
    *(Field(f"turn_{metres}", "rad", 1.0) for metres in TURNS),
    Field("next_turn", "m", 100.0),
    *_road_fields(),
    # What the kart has.
    Field("skid", "1", 1.0),
    Field("skid_right", "1", 1.0),
    Field("skid_seconds", "s", 3.0),
    Field("skid_level", "1", 1.0),
    Field("nitro", "1", 10.0),
    Field("powerups", "1", 1.0),
    *(Field(f"powerup_{name.lower()}", "1", 1.0) for name in (*POWERUPS, "OTHER")),
    *(Field(f"attached_{name.lower()}", "1", 1.0) for name in ATTACHMENTS),
    # What lies on the road, and who else drives there.
    *_item_fields(),
    *_kart_fields(),
    # The race.
    Field("lap_sin", "1", 1.0),
    Field("lap_cos", "1", 1.0),
    Field("laps_left", "laps", 1.0),
    Field("distance_left", "m", 1000.0),
    Field("seconds", "s", 5.0),
    Field("stuck_seconds", "s", 2.5),
    # The controls of the last step.
    *(
        Field(f"held_{name}", "1", 1.0)
        for name in ("steer", "acceleration", "brake", "fire", "drift", "nitro")
    ),
)
"""The entries of the state, in order."""

NAMES = tuple(field.name for field in FIELDS)
SIZE = len(FIELDS)

_SCALES = np.array([field.scale for field in FIELDS])
_PLACES = {name: number for number, name in enumerate(NAMES)}
_AHEAD, _TURNS = np.array(AHEAD), np.array((0, *TURNS))
_ROUNDING = 1e-6
_FAR = 1e6
"""Metres: where what is not there lies."""


def encode(values: Mapping[str, float]) -> State:
    """The state of quantities by name, in their own units; those not named are 0.

    Raises:
        KeyError: the state has no such entry.
    """
    raw = np.zeros(SIZE)
    for name, value in values.items():
        raw[_PLACES[name]] = value
    return _scaled(raw)


def _scaled(raw: Floats) -> State:
    return np.clip(raw / _SCALES, -LIMIT, LIMIT).astype(np.float32)


class Standing(NamedTuple):
    """How a race stands."""

    laps: int
    along: float
    """Metres from the start line, growing over laps."""
    seconds: float
    """Game seconds since the episode's start."""
    stuck_seconds: float
    """Game seconds without another metre of progress."""


class StateReader:
    """Reads the state of one kart, step after step, from GO on."""

    def __init__(self, road: Road, items: Sequence[Item]) -> None:
        """Begin a race on a road with items on it."""
        self._road = road
        self._controls = Controls()
        self._skid, self._side, self._skid_seconds = 1.0, 0.0, 0.0
        self._raw = np.zeros(SIZE)
        self._points = self._part("road_4_right", len(AHEAD) * 4).reshape(-1, 4)
        self._items_near = self._part("nitro_1_present", len(ITEMS) * NEAREST * 4)
        self._items_near = self._items_near.reshape(len(ITEMS), NEAREST, 4)
        self._karts_near = self._part("kart_1_present", NEAREST * 6).reshape(-1, 6)
        self.set_items(items)

    def _part(self, first: str, length: int) -> Floats:
        """A view of some entries."""
        start = _PLACES[first]
        return self._raw[start : start + length]

    def set_items(self, items: Sequence[Item]) -> None:
        """Take what lies on the road from now on."""
        kinds = [[item.location for item in items if item.kind == kind] for kind in ITEMS]
        self._items = np.full((len(ITEMS), max(NEAREST, *map(len, kinds)), 3), _FAR)
        for row, locations in zip(self._items, kinds, strict=True):
            row[: len(locations)] = np.reshape(locations, (-1, 3))

    def step(self, kart: KartState, controls: Controls, seconds: float) -> None:
        """Take in a step of the game of so many seconds, in which the controls were held."""
        if kart.skid <= 1.0 or kart.skid < self._skid:  # it falls after the end
            self._skid_seconds = self._side = 0.0
        else:
            self._skid_seconds += seconds
            if self._side == 0.0:  # the wheel does not change it any more
                self._side = math.copysign(1.0, controls.steer)
        self._skid = kart.skid
        self._controls = controls

    def read(
        self, kart: KartState, place: Place, standing: Standing, others: Sequence[KartState] = ()
    ) -> State:
        """The state of the kart at a place of the road, among other karts: [SIZE]."""
        stretch, metres = self._road.ahead(place)
        whole = int(metres)
        part = metres - whole
        sin, cos = math.sin(kart.heading), math.cos(kart.heading)
        # Takes what is seen from above and the height to right, ahead and up.
        to_kart = np.array([[cos, sin, 0.0], [0.0, 0.0, 1.0], [-sin, cos, 0.0]])
        at = whole + _AHEAD
        points = stretch.points[at] * (1.0 - part) + stretch.points[at + 1] * part
        self._points[:, :3] = (points - kart.location) @ to_kart
        self._points[:, 3] = stretch.half_widths[at]
        self._see_items(kart, to_kart)
        if others:
            self._see_karts(kart, others, to_kart)
        raw = self._raw
        motion = self._motion(kart) + self._place(kart, place, stretch, whole)
        raw[: len(motion)] = motion
        own = self._belongings(kart)
        first = _PLACES["skid"]
        raw[first : first + len(own)] = own
        raw[_PLACES["lap_sin"] :] = self._race(standing)
        return _scaled(raw)

    def _motion(self, kart: KartState) -> list[float]:
        return [
            kart.speed,
            *kart.local_velocity.tolist(),
            kart.yaw_rate,
            kart.pitch,
            kart.roll,
            kart.on_road,
            kart.jumping,
        ]

    def _place(self, kart: KartState, place: Place, stretch: Stretch, metres: int) -> list[float]:
        error = kart.heading - place.direction
        half_width = float(stretch.half_widths[metres])
        headings = stretch.headings[metres + _TURNS].tolist()
        return [
            math.sin(error),
            math.cos(error),
            place.lateral,
            half_width,
            half_width + place.lateral,
            half_width - place.lateral,
            float(kart.location[1] - stretch.points[metres, 1]),
            *(heading - headings[0] for heading in headings[1:]),
            float(stretch.to_turn[metres]),
        ]

    def _belongings(self, kart: KartState) -> list[float]:
        held = [float(kart.powerup == name) for name in POWERUPS]
        other = float(kart.powerup != NOTHING and not any(held))
        return [
            kart.skid - 1.0,
            self._side,
            self._skid_seconds,
            float(sum(self._skid_seconds >= seconds - _ROUNDING for seconds in LEVELS)),
            kart.energy,
            float(kart.powerups),
            *held,
            other,
            *(float(kart.attachment == name) for name in ATTACHMENTS),
        ]

    def _see_items(self, kart: KartState, to_kart: Floats) -> None:
        """Describe the nearest items of each kind."""
        local = (self._items - kart.location) @ to_kart
        right, ahead, up = local[..., 0], local[..., 1], local[..., 2]
        near = (ahead > PASSED) & (ahead < ITEM_RANGE) & (np.abs(up) < ITEM_HEIGHT)
        order = np.where(near, right * right + ahead * ahead, np.inf).argsort(1)[:, :NEAREST]
        present = np.take_along_axis(near, order, 1)
        self._items_near[..., 0] = present
        nearest = np.take_along_axis(local, order[..., None], 1)
        self._items_near[..., 1:] = np.where(present[..., None], nearest, 0.0)

    def _see_karts(self, kart: KartState, others: Sequence[KartState], to_kart: Floats) -> None:
        """Describe the nearest other karts."""
        away = np.array([other.location for other in others]) - kart.location
        metres = np.sqrt((away**2).sum(1))
        order = [number for number in metres.argsort()[:NEAREST] if metres[number] < KART_RANGE]
        velocities = np.array([others[number].velocity for number in order]).reshape(-1, 3)
        self._karts_near[:] = 0.0
        near = self._karts_near[: len(order)]
        near[:, 0] = 1.0
        near[:, 1:4] = away[order] @ to_kart
        near[:, 4:] = (velocities - kart.velocity) @ to_kart[:, :2]

    def _race(self, standing: Standing) -> list[float]:
        length = self._road.line.length
        phase = 2 * math.pi * standing.along / length
        left = standing.laps * length - standing.along
        held = self._controls
        return [
            math.sin(phase),
            math.cos(phase),
            left / length,
            left,
            standing.seconds,
            standing.stuck_seconds,
            held.steer,
            held.acceleration,
            float(held.brake),
            float(held.fire),
            float(held.drift),
            float(held.nitro),
        ]
