"""What is raced and what is seen of it: the configuration of one environment."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from kart_jax.game.rewards import TERMS
from kart_jax.validation import check, check_choice, is_number, make_plain

TICK = 1 / 120
"""Length of one physics step of the game, in seconds of game time."""

HEIGHT, WIDTH = 768, 1024
"""Pixels of the largest frame that the game draws without a display."""

ActionSetName = Literal["full", "reduced", "race", "fine", "drive", "discrete", "continuous"]
RewardName = Literal["progress", "original"]
Layout = Literal["thwc", "thw", "hwc"]
Direction = Literal["forward", "reverse", "both"]
Scenery = Literal["full", "lean"]
ObservationName = Literal["frames", "state", "both"]
DIFFICULTIES = (0, 1, 2, 3)
"""The game's own: novice, intermediate, expert and SuperTux."""


@dataclass(frozen=True)
class RaceConfig:
    """One race as an environment: the track, the view, the controls, the rewards, the ends."""

    simulator: Literal["supertuxkart", "fake"] = "supertuxkart"
    """The real game, or a small deterministic stand-in without graphics, for tests."""
    track: tuple[str, ...] = ("lighthouse",)
    """Tracks to race on; one is drawn at each reset. Where a run has as many environments as
    tracks, each keeps one. On a command line, `all` stands for all."""
    track_weights: tuple[float, ...] = ()
    """How often each track is drawn, in proportion; empty: all alike."""
    direction: Direction = "forward"
    """`both` draws one at each reset."""
    laps: int = 1
    """Laps of one race."""
    difficulty: int = 2
    """0 (slow) to 3 (fast): the speed of all karts and the skill of the game's own drivers."""
    kart: str = "tux"
    """Model of the observed kart."""
    karts: int = 1
    """Karts in the race, 1 to 20; all but the observed one are driven by the game. With
    opponents a reset loads the race anew (half a second) instead of restarting it."""
    driver: Literal["agent", "ai"] = "agent"
    """Who drives the observed kart: `ai` is the game's own; actions are then ignored and
    `info["controls"]` has what it did."""

    observation: ObservationName = "frames"
    """`frames`: what the kart's camera sees; `state`: a vector of what a driver needs, see
    `kart_jax/game/state.py`; `both`: a dictionary of the two. With `state` nothing is drawn, which
    is much faster and needs no OpenGL, but a process keeps its one track."""
    height: int = 48
    """Height of a frame in pixels."""
    width: int = 64
    """Width of a frame in pixels."""
    colour: Literal["grey", "rgb"] = "grey"
    """One luminance channel, or red, green and blue."""
    depth: bool = False
    """One more channel: distance on a logarithmic scale, 0 at 1 m to 255 at 1 km."""
    labels: bool = False
    """One more channel: what a pixel shows (road, karts, items), see `kart_jax/game/labels.py`."""
    scenery: Scenery = "full"
    """`full`: all that the game draws; `lean`: nearly the same picture in less time, by fewer
    triangles and textures that stand still. Made once for each track."""
    hud: bool = False
    """Draw position, lap, speed and map over the frame: for viewers, and slow."""
    stack: int = 5
    """Frames in one observation, oldest first."""
    layout: Layout = "thwc"
    """Axes of an observation (time, height, width, channel); `thw` needs one channel,
    `hwc` folds time into channels, oldest frame first."""

    step_seconds: float = 0.1
    """Game seconds of one step of the game; a multiple of 1/120."""
    action_repeat: int = 1
    """Steps of the game for which one action is held; only the last one is drawn."""
    time_limit: float = 120.0
    """Game seconds after which an episode is truncated."""
    stuck_seconds: float = 2.5
    """Game seconds without another metre of progress after which an episode has failed."""
    wrong_way_seconds: float = 5.0
    """Game seconds of driving the wrong way after which an episode has failed."""

    action_set: ActionSetName = "full"
    """`full`: the seven parts; `reduced`: without rescue; `race`: throttle (brake, none,
    full), steer in five steps, drift, nitro; `fine`: throttle, steer in nine steps, drift, nitro,
    fire; `drive`: throttle (no, yes) and steer (left, none,
    right); `discrete`: a list of useful combinations; `continuous`:
    steer and throttle, each -1 to 1."""
    reward: RewardName = "progress"
    """`progress`: metres gained, less time, off-road and wrong-way costs, with a finish
    bonus; `original`: the reward of the first version, which pays for tricks."""
    reward_weights: tuple[tuple[str, float], ...] = ()
    """Weights of reward terms to change or to add, such as `time -0.2 off_road 0`."""

    start_position: int = 1
    """Place on the grid, 1 in front; 0 draws one at each reset."""
    start_jitter: float = 0.0
    """Metres by which the start is moved sideways at most, either way, at random."""
    start_actions: int = 0
    """Random actions at most before control begins, unseen."""
    random_start: float = 0.0
    """Share of episodes that start at a random point along the track instead of the grid."""
    start_turn: float = 0.0
    """Degrees by which the kart is turned at most, either way, at such a point: so a policy learns
    to get away from walls."""
    hold_start: bool = False
    """Hold the accelerator from "Set!" on, unseen, and so earn the game's start boost: about
    half a second over the first three."""

    def __post_init__(self) -> None:
        """Refuse values that the game cannot take."""
        make_plain(self)
        self._make_tracks()
        self._make_reward_weights()
        check_choice("simulator", self.simulator, ["supertuxkart", "fake"])
        self._check_choices()
        self._check_counts()
        self._check_times()
        check(
            self.layout != "thw" or self.channels == 1,
            "layout",
            self.layout,
            "thwc or hwc where a frame has more than one channel",
        )
        check(
            self.karts == 1 or self.random_start == 0,
            "random_start",
            self.random_start,
            "0 with opponents (karts > 1), since the game could not rank the karts",
        )

    def _make_tracks(self) -> None:
        """Tuples of names and weights, also of a single name, and of JSON's lists."""
        track = (self.track,) if isinstance(self.track, str) else _tuple(self.track)
        named = bool(track) and all(isinstance(name, str) for name in track)
        check(named, "track", self.track, "the name of a track, or a list of some")
        object.__setattr__(self, "track", track)
        weights = _tuple(self.track_weights)
        numbers = weights is not None and all(is_number(one) and one >= 0 for one in weights)
        one_each = numbers and len(weights) == len(track) and 0 < sum(weights) < math.inf
        check(
            one_each or weights == (),
            "track_weights",
            self.track_weights,
            f"empty, or {len(track)} numbers of at least 0, one for each track, not all 0",
        )
        object.__setattr__(self, "track_weights", tuple(map(float, weights)))

    def _make_reward_weights(self) -> None:
        """Pairs of a term and its weight, of a mapping too."""
        given: Any = self.reward_weights
        pairs = _tuple(given.items() if isinstance(given, Mapping) else given)
        paired = pairs is not None and all(len(_tuple(pair) or ()) == 2 for pair in pairs)
        check(paired, "reward_weights", given, "terms and weights, such as {'time': -0.2}")
        for name, weight in pairs:
            check_choice("reward_weights", name, TERMS)
            check(is_number(weight), "reward_weights", (name, weight), "a finite number")
        plain = tuple((str(name), float(weight)) for name, weight in pairs)
        object.__setattr__(self, "reward_weights", plain)

    def _check_choices(self) -> None:
        check_choice("difficulty", self.difficulty, DIFFICULTIES)
        check_choice("direction", self.direction, get_args(Direction))
        check_choice("driver", self.driver, ["agent", "ai"])
        check_choice("observation", self.observation, get_args(ObservationName))
        check_choice("colour", self.colour, ["grey", "rgb"])
        check_choice("layout", self.layout, get_args(Layout))
        check_choice("scenery", self.scenery, get_args(Scenery))
        check_choice("action_set", self.action_set, get_args(ActionSetName))
        check_choice("reward", self.reward, get_args(RewardName))

    def _check_counts(self) -> None:
        limits = {
            "laps": (1, 100),
            "karts": (1, 20),
            "height": (8, HEIGHT),
            "width": (8, WIDTH),
            "stack": (1, 64),
            "action_repeat": (1, 100),
            "start_position": (0, self.karts),
            "start_actions": (0, 1000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            check(low <= value <= high, name, value, f"a whole number from {low} to {high}")

    def _check_times(self) -> None:
        ticks = self.step_seconds / TICK
        check(
            1 - 1e-3 <= ticks <= 120 and math.isclose(ticks, round(ticks), abs_tol=1e-3),
            "step_seconds",
            self.step_seconds,
            "a multiple of 1/120 s up to 1 s, such as 0.1",
        )
        for name in ("time_limit", "stuck_seconds", "wrong_way_seconds"):
            value = getattr(self, name)
            check(value > 0, name, value, "more than 0")
        check(0 <= self.start_jitter <= 5, "start_jitter", self.start_jitter, "0 to 5 metres")
        check(0 <= self.start_turn <= 180, "start_turn", self.start_turn, "0 to 180 degrees")
        check(0 <= self.random_start <= 1, "random_start", self.random_start, "0 to 1")

    @property
    def draws(self) -> bool:
        """Whether frames are drawn."""
        return self.observation != "state"

    @property
    def colours(self) -> int:
        """Channels of colour, which are a frame's first ones."""
        return 1 if self.colour == "grey" else 3

    @property
    def channels(self) -> int:
        """Channels of one frame."""
        return self.colours + int(self.depth) + int(self.labels)

    @property
    def action_seconds(self) -> float:
        """Game seconds of one action."""
        return self.step_seconds * self.action_repeat


def _tuple(values: Any) -> Any:
    """Values that can be iterated over as a tuple; None if they cannot."""
    return tuple(values) if isinstance(values, Iterable) else None
