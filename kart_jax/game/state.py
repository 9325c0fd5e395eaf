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

from kart_jax.game.actions import Controls, FineActions
from kart_jax.game.centreline import STRAY, CentreLine, Place
from kart_jax.game.engine.world import Item, KartState
from kart_jax.game.rewards import NOTHING
from kart_jax.game.road import Road, RoadAhead

Floats = npt.NDArray[np.float64]
State = npt.NDArray[np.float32]

LIMIT = 5.0
"""The largest entry; what falls off the track goes beyond it."""

AHEAD = (4, 8, 12, 16, 22, 30, 40, 50, 65, 80)
"""Metres of road to the points of the centre line that are described."""
TURNS = (10, 25, 50, 100)
"""Metres of road over which the road's turn is described."""
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
"""Seconds beyond which a skid earns a burst of speed, and a stronger one."""


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
_PARTS = 1.0 / _SCALES
_PLACES = {name: number for number, name in enumerate(NAMES)}
_OWNED, _RACE = _PLACES["skid"], _PLACES["lap_sin"]
_ROUNDING = 1e-6
_NO_ITEM = (0.0,) * 4
_Lying = tuple[int, float, float, float]
"""Number of an item's kind, and where it lies."""


def encode(values: Mapping[str, float]) -> State:
    """Return the state of quantities by name, in their own units; those not named are 0.

    Raises:
        KeyError: the state has no such entry.
    """
    raw = np.zeros(SIZE)
    for name, value in values.items():
        raw[_PLACES[name]] = value
    return _scaled(raw)


def _scaled(raw: Floats) -> State:
    scaled = raw * _PARTS
    np.maximum(scaled, -LIMIT, out=scaled)  # np.clip takes twice as long
    np.minimum(scaled, LIMIT, out=scaled)
    return scaled.astype(np.float32)


class Standing(NamedTuple):
    """How a race stands."""

    laps: int
    along: float
    """Metres from the start line, growing over laps."""
    seconds: float
    """Game seconds since the episode's start."""
    stuck_seconds: float
    """Game seconds without another metre of progress."""


def road_of(line: CentreLine) -> Road:
    """Return the road as the state describes it."""
    return Road(line, AHEAD, TURNS)


class StateReader:
    """Reads the state of one kart, step after step, from GO on."""

    def __init__(self, road: Road, items: Sequence[Item]) -> None:
        """Begin a race on a road, one of `road_of`, with items on it."""
        self._road = road
        self._controls = Controls()
        self._skid, self._side, self._skid_seconds = 1.0, 0.0, 0.0
        self._raw = np.zeros(SIZE)
        # Takes what is given along the world's axes, y up, to right, ahead and up.
        self._to_kart = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        self._points = self._entries("road_4_right", len(AHEAD) * 4).reshape(-1, 4)
        self._items_near = self._entries("nitro_1_present", len(ITEMS) * NEAREST * 4)
        self._karts_near = self._entries("kart_1_present", NEAREST * 6).reshape(-1, 6)
        self.set_items(items)

    def _entries(self, first: str, length: int) -> Floats:
        """A view of some entries."""
        start = _PLACES[first]
        return self._raw[start : start + length]

    def set_items(self, items: Sequence[Item]) -> None:
        """Take what lies on the road from now on."""
        self._items = [
            (ITEMS.index(item.kind), *item.location.tolist())
            for item in items
            if item.kind in ITEMS
        ]
        self._items_around: dict[int, list[_Lying]] = {}

    def step(self, kart: KartState, controls: Controls, seconds: float) -> None:
        """Follow a step of the game, of `seconds`, in which the controls were held."""
        # With the wheel straight the game does not report a skid that continues.
        unseen = self._side != 0.0 and controls.drift and abs(controls.steer) < FineActions.HAIR
        if unseen or (kart.skid > 1.0 and kart.skid >= self._skid):  # it falls after the end
            self._skid_seconds += seconds
            if self._side == 0.0:  # the wheel does not change it any more
                self._side = math.copysign(1.0, controls.steer)
        else:
            self._skid_seconds = self._side = 0.0
        self._skid = kart.skid
        self._controls = controls

    def read(
        self, kart: KartState, place: Place, standing: Standing, others: Sequence[KartState] = ()
    ) -> State:
        """Return the state of the kart at a place of the road, among other karts: [SIZE]."""
        road = self._road.look(place)
        sin, cos = math.sin(kart.heading), math.cos(kart.heading)
        to_kart = self._to_kart
        to_kart[0, 0] = to_kart[2, 1] = cos
        to_kart[0, 1], to_kart[2, 0] = sin, -sin
        self._points[:, :3] = (road.points - kart.location) @ to_kart
        self._points[:, 3] = road.half_widths
        self._see_items(kart, place.node, sin, cos)
        if others:
            self._see_karts(kart, others, to_kart)
        raw = self._raw
        placed = _motion(kart) + _place(kart, place, road)
        raw[: len(placed)] = placed
        owned = self._belongings(kart)
        raw[_OWNED : _OWNED + len(owned)] = owned
        raw[_RACE:] = self._race(standing)
        return _scaled(raw)

    def _belongings(self, kart: KartState) -> list[float]:
        held = [float(kart.powerup == name) for name in POWERUPS]
        other = kart.powerup != NOTHING and not any(held)
        return [
            kart.skid - 1.0,
            self._side,
            self._skid_seconds,
            float(sum(self._skid_seconds > seconds + _ROUNDING for seconds in LEVELS)),
            kart.energy,
            float(kart.powerups),
            *held,
            float(other),
            *(float(kart.attachment == name) for name in ATTACHMENTS),
        ]

    def _see_items(self, kart: KartState, node: int, sin: float, cos: float) -> None:
        """Describe the nearest items of each kind."""
        around = self._items_around.get(node)
        if around is None:
            around = self._items_around[node] = self._near_segment(node)
        x, y, z = kart.location.tolist()
        found: list[list[tuple[float, ...]]] = [[] for _ in ITEMS]
        for kind, item_x, item_y, item_z in around:  # so few that NumPy would take longer
            aside, up, along = item_x - x, item_y - y, item_z - z
            ahead = sin * aside + cos * along
            if PASSED < ahead < ITEM_RANGE and abs(up) < ITEM_HEIGHT:
                right = cos * aside - sin * along
                found[kind].append((right * right + ahead * ahead, right, ahead, up))
        seen: list[float] = []
        for items in found:
            items.sort()
            for _, right, ahead, up in items[:NEAREST]:
                seen += (1.0, right, ahead, up)
            seen += _NO_ITEM * (NEAREST - len(items))
        self._items_near[:] = seen

    def _near_segment(self, node: int) -> list[_Lying]:
        """The items that a kart on a segment of the road, or beside it, may see."""
        line = self._road.line
        x, y, z = line.start[node].tolist()
        reach = ITEM_RANGE + float(np.linalg.norm(line.span[node])) + line.widths[node] / 2 + STRAY
        return [item for item in self._items if math.dist(item[1:], (x, y, z)) < reach]

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


def _motion(kart: KartState) -> list[float]:
    return [
        kart.speed,
        *kart.local_velocity.tolist(),
        kart.yaw_rate,
        kart.pitch,
        kart.roll,
        float(kart.on_road),
        float(kart.jumping),
    ]


def _place(kart: KartState, place: Place, road: RoadAhead) -> list[float]:
    error = kart.heading - place.direction
    return [
        math.sin(error),
        math.cos(error),
        place.lateral,
        road.half_width,
        road.half_width + place.lateral,
        road.half_width - place.lateral,
        float(kart.location[1]) - road.height,
        *road.turns.tolist(),
        road.to_turn,
    ]
