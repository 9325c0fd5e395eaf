"""What is raced and what is seen of it: the configuration of one environment."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from kart_jax.checks import check, check_choice

ActionSetName = Literal["full", "reduced", "drive", "discrete", "continuous"]

TICK = 1 / 120
"""Length of one physics step of the game, in seconds of game time."""


@dataclass(frozen=True)
class RaceConfig:
    """One race as an environment: the track, the view, the controls, the ends."""

    simulator: Literal["supertuxkart", "fake"] = "supertuxkart"
    """The real game, or a small deterministic stand-in without graphics, for tests."""
    track: tuple[str, ...] = ("lighthouse",)
    """Tracks to race on; one is drawn at each reset."""
    difficulty: int = 2
    """0 (slow) to 2 (fast): the speed of all karts and the skill of the opponents."""

    height: int = 48
    """Height of a frame in pixels."""
    width: int = 64
    """Width of a frame in pixels."""
    colour: Literal["grey", "rgb"] = "grey"
    """One luminance channel, or red, green and blue."""
    stack: int = 5
    """Frames in one observation, oldest first."""

    step_seconds: float = 0.1
    """Game seconds of one action; a multiple of 1/120."""
    time_limit: float = 120.0
    """Game seconds after which an episode is truncated."""
    stuck_seconds: float = 2.5
    """Game seconds without a new best progress after which an episode is truncated."""

    action_set: ActionSetName = "full"
    """`full`: the seven parts; `drive`: throttle (no, yes) and steer (left, none, right)."""

    def __post_init__(self) -> None:
        """Refuse values that the game cannot take."""
        if isinstance(self.track, str):
            object.__setattr__(self, "track", (self.track,))
        check_choice("simulator", self.simulator, ["supertuxkart", "fake"])
        check(len(self.track) > 0, "track", self.track, "at least one track")
        check_choice("difficulty", self.difficulty, [0, 1, 2])
        for name in ("height", "width", "stack"):
            value = getattr(self, name)
            check(value >= 1, name, value, "at least 1")
        check_choice("colour", self.colour, ["grey", "rgb"])
        ticks = self.step_seconds / TICK
        check(
            ticks >= 1 and math.isclose(ticks, round(ticks), abs_tol=1e-3),
            "step_seconds",
            self.step_seconds,
            "a multiple of 1/120 s, such as 0.1",
        )
        for name in ("time_limit", "stuck_seconds"):
            value = getattr(self, name)
            check(value > 0, name, value, "more than 0")
        check_choice("action_set", self.action_set, get_args(ActionSetName))

    @property
    def channels(self) -> int:
        """Colour channels of one frame."""
        return 1 if self.colour == "grey" else 3
