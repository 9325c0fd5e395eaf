"""What is known of karts and items after a step: plain data, read from the game's own objects."""

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class KartState:
    """What is known of the observed kart after a step."""

    location: npt.NDArray[np.float32]
    """[3], metres; y is up."""
    velocity: npt.NDArray[np.float32]
    """[3], metres a second."""
    speed: float
    """Metres a second, negative backwards; exactly 0 while the game carries the kart."""
    heading: float
    """Radians, 0 = +z, growing towards +x."""
    on_road: bool
    jumping: bool
    finished: bool
    position: int
    """1 is the leader."""
    energy: float
    """Nitro collected."""
    powerup: str
    """Name of the power-up held, or NOTHING."""
    skid: float
    """How much the kart skids: 1 not at all, growing while it does."""
    local_velocity: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))
    """[3], metres a second: to the kart's right, upwards and ahead."""
    yaw_rate: float = 0.0
    """Radians a second, to the right positive."""
    pitch: float = 0.0
    """Radians, with the nose up positive."""
    roll: float = 0.0
    """Radians, with the right side up positive."""
    powerups: int = 0
    """How many of the power-up are held."""
    attachment: str = "NOTHING"
    """Name of what sticks to the kart."""


@dataclass(frozen=True)
class Item:
    """Something that lies on the road."""

    kind: Literal["box", "nitro", "hazard", "other"]
    """A box holds a power-up; a hazard (banana, bubble gum) slows down."""
    location: npt.NDArray[np.float64]
    """[3], metres; y is up."""
    radius: float = 0.5
    """Metres from its middle to its side, as it is drawn."""
    height: float = 1.0
    """Metres that it stands above its location, as it is drawn."""


@dataclass(frozen=True)
class KartBody:
    """The space that a kart takes in the game's physics."""

    location: npt.NDArray[np.float64]
    """[3], metres; the middle of its floor."""
    up: npt.NDArray[np.float64]
    """[3]: its own direction upwards, of length 1."""
    size: npt.NDArray[np.float64]
    """[3]: width, height and length, metres."""


_ITEMS: dict[str, tuple[Literal["box", "nitro", "hazard", "other"], float, float]] = {
    "BONUS_BOX": ("box", 0.65, 1.2),
    "NITRO_SMALL": ("nitro", 0.4, 0.9),
    "NITRO_BIG": ("nitro", 0.8, 1.5),
    "BANANA": ("hazard", 0.5, 1.4),
    "BUBBLEGUM": ("hazard", 0.5, 0.5),
}
"""Kind, radius and height of items by the game's own names; the sizes are from depth images."""
_OTHER: tuple[Literal["other"], float, float] = ("other", 0.5, 1.0)


def kart_state(kart: Any) -> KartState:
    """Return the state of a kart of the game's `WorldState`."""
    # Copied, since the game changes its arrays in its next step.
    location = np.array(kart.location)
    ahead = (kart.front - location).tolist()
    w, x, y, z = kart.rotation.tolist()
    powerup = kart.powerup
    return KartState(
        location=location,
        velocity=np.array(kart.velocity),
        speed=kart.speed,
        heading=math.atan2(ahead[0], ahead[2]),
        on_road=kart.is_on_road,
        jumping=kart.jumping,
        finished=kart.has_finished_race,
        position=kart.position,
        energy=kart.energy,
        powerup=_name(powerup.type),
        skid=kart.skeed_factor,
        local_velocity=np.array(kart.velocity_lc),
        yaw_rate=float(kart.angular_velocity[1]),
        pitch=math.asin(_within(2 * (w * x - y * z))),
        roll=math.asin(_within(2 * (x * y + w * z))),
        powerups=powerup.num,
        attachment=_name(kart.attachment.type),
    )


def item_of(item: Any) -> Item:
    """Return an item of the game's `WorldState`."""
    kind, radius, height = _ITEMS.get(_name(item.type), _OTHER)
    return Item(kind, np.array(item.location, np.float64), radius, height)


def body_of(kart: Any) -> KartBody:
    """Return the body of a kart of the game's `WorldState`."""
    return KartBody(np.array(kart.location, np.float64), _up(*kart.rotation), np.array(kart.size))


def _name(member: Any) -> str:
    """The name of a member of one of the game's enumerations."""
    return _known_name((type(member), int(member)))


@cache
def _known_name(member: tuple[Any, int]) -> str:
    """The name, which is slow to ask for, of an enumeration's member; so is comparing members."""
    enumeration, number = member
    return str(enumeration(number).name)


def _within(part: float) -> float:
    """A sine or cosine that rounding may have taken beyond 1."""
    return min(max(part, -1.0), 1.0)


def _up(w: float, x: float, y: float, z: float) -> npt.NDArray[np.float64]:
    """The direction [3] that a rotation, a quaternion of length 1, makes of [0, 1, 0]."""
    return np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])
