"""Rewards: named terms, each a plain function of one action's outcome, and their weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kart_jax.game.actions import Controls

NOTHING = "NOTHING"
"""The game's name for no power-up."""


@dataclass(frozen=True)
class Outcome:
    """What one action led to, as far as rewards care."""

    seconds: float
    """Game seconds that the action took."""
    ground: float
    """Metres of road driven for the first time in this episode."""
    moved: float
    """Metres along the track, negative backwards."""
    off_road: float
    """Game seconds of it off the road."""
    wrong_way: bool
    rescued: bool
    """A rescue began."""
    jumped: bool
    """The kart left the ground by a jump."""
    finished: bool
    saved: float
    """At the finish: seconds faster than a slow drive (`PAR_SPEED`); otherwise 0."""
    overtaken: int
    """Places gained (negative: lost) in the race."""
    controls: Controls
    powerup_before: str
    powerup: str


PAR_SPEED = 10.0
"""Metres a second of the slow drive that the finish bonus compares with."""

TERMS: dict[str, Callable[[Outcome], float]] = {
    "progress": lambda o: o.ground,
    "time": lambda o: o.seconds,
    "off_road": lambda o: o.off_road,
    "wrong_way": lambda o: o.seconds * o.wrong_way,
    "rescue": lambda o: float(o.rescued),
    "finish": lambda o: float(o.finished),
    "time_saved": lambda o: o.saved,
    "moved": lambda o: o.moved,
    "overtake": lambda o: float(max(o.overtaken, 0)),
    "powerup_held": lambda o: float(o.powerup != NOTHING),
    "powerup_fired": lambda o: float(o.controls.fire and o.powerup_before != NOTHING),
    "nitro_with_powerup": lambda o: float(o.controls.nitro and o.powerup != NOTHING),
    "drift": lambda o: float(o.controls.drift),
    "jump": lambda o: float(o.jumped),
}
"""Every term by name, unweighted: metres, game seconds, or counts."""

SCHEMES: dict[str, dict[str, float]] = {
    "progress": {
        "progress": 0.1,
        "time": -0.1,
        "off_road": -0.1,
        "wrong_way": -0.2,
        "rescue": -0.5,
        "finish": 5.0,
        "time_saved": 0.1,
    },
    "original": {
        "moved": 1.0,
        "finish": 10.0,
        "overtake": 5.0,
        "powerup_held": 3.0,
        "powerup_fired": 1.0,
        "nitro_with_powerup": 3.0,
        "drift": 3.0,
        "jump": -3.0,
        "rescue": -5.0,
    },
}
"""Weights of each scheme's terms, by the name that `RaceConfig.reward` takes."""


class Reward:
    """The weighted sum of a scheme's terms."""

    def __init__(self, scheme: str, overrides: Mapping[str, float]) -> None:
        """Take a scheme and the weights that differ from it."""
        self.weights = {**SCHEMES[scheme], **overrides}

    def __call__(self, outcome: Outcome) -> tuple[float, dict[str, float]]:
        """Return the reward, and its terms before weighting."""
        terms = {name: TERMS[name](outcome) for name in self.weights}
        return sum(weight * terms[name] for name, weight in self.weights.items()), terms
