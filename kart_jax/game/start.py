"""How an episode begins: what is drawn from its seed, and putting the kart there."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kart_jax.game.actions import ActionSet, Controls
from kart_jax.game.centreline import Progress
from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.race import Race
from kart_jax.validation import check, is_whole

RESET_OPTIONS = ("track", "reverse", "episode_seed")
SEEDS = 2**31
"""Episodes' seeds are below it: the game's own are C integers."""
DRAWN_SEEDS = 2**30
"""An episode's seed is drawn from those below; those from here to 2**31, which training
so never meets, are for evaluation."""
SETTLE_STEPS_SECONDS = 0.6
"""Game seconds in which a kart that was put down drops onto the road and the camera turns."""
LAST_METRES = 30.0
"""Metres before the finish line in which no episode begins."""
TRIES = 5
"""Points along the track that are tried before the grid is taken: some lie over a gap."""


@dataclass(frozen=True)
class Start:
    """All that is random about an episode's start."""

    seed: int
    track: str
    reverse: bool
    place: int
    """Place on the grid, 1 in front."""
    points: tuple[float, ...]
    """Parts of the lap at which to begin, to be tried in turn; empty: on the grid."""
    sideways: float
    """Metres to the right of the grid or of the centre line."""
    turn: float
    """Radians to the left of the centre line, at one of the points."""
    action_seed: int
    actions: int
    """Random actions before control begins."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what `reset` cannot do; whether a track is there is for the catalogue to say.

    Raises:
        ValueError: names the option, the value and what is allowed.
    """
    check(isinstance(options, Mapping), "options", options, "a dictionary")
    for name in options:
        check(name in RESET_OPTIONS, "options", name, "one of " + ", ".join(RESET_OPTIONS))
    reverse, seed = options.get("reverse", False), options.get("episode_seed", 0)
    check(isinstance(reverse, bool | np.bool_), "reverse", reverse, "True or False")
    check(is_whole(seed) and 0 <= seed < SEEDS, "episode_seed", seed, f"0 to {SEEDS - 1}")


def draw_start(config: RaceConfig, seed: int, options: Mapping[str, Any]) -> Start:
    """Draw an episode's start from its seed; `options` may fix the track and direction."""
    rng = np.random.default_rng(seed)
    weights = np.array(config.track_weights or [1.0] * len(config.track))
    # Every draw is made, whether used or not: fixing the track changes nothing else.
    track = config.track[int(rng.choice(len(config.track), p=weights / weights.sum()))]
    reverse = bool(rng.integers(2)) if config.direction == "both" else False
    place = int(rng.integers(config.karts)) + 1
    points = tuple(rng.uniform(size=TRIES).tolist())
    along = rng.uniform() < config.random_start
    return Start(
        seed=seed,
        track=str(options.get("track", track)),
        reverse=bool(options.get("reverse", reverse or config.direction == "reverse")),
        place=config.start_position or place,
        points=points if along else (),
        sideways=float(rng.uniform(-1, 1)) * config.start_jitter,
        action_seed=int(rng.integers(2**31)),
        actions=int(rng.integers(config.start_actions + 1)),
        turn=float(np.radians(rng.uniform(-1, 1) * config.start_turn)),
    )


def take_start(race: Race, start: Start, actions: ActionSet) -> tuple[Progress, bool]:
    """Begin the race and put the kart where the episode starts.

    Returns:
        Progress, measured from there, and whether the episode begins on the grid.
    """
    race.begin(start.track, start.reverse, start.place, start.seed, on_grid=not start.points)
    placed = any(_put_down(race, point, start) for point in start.points)
    if start.points and not placed:
        race.begin(start.track, start.reverse, start.place, start.seed)
    if not placed and start.sideways:
        kart = race.kart()
        right = np.array([np.cos(kart.heading), 0.0, -np.sin(kart.heading)])
        race.place(kart.location + start.sideways * right + [0.0, 0.3, 0.0], kart.heading)
        _settle(race)
    _act(race, start, actions)
    location = race.kart().location
    line = race.line
    progress = Progress.from_anywhere(line, location) if placed else Progress(line, location)
    return progress, not placed


def _put_down(race: Race, part: float, start: Start) -> bool:
    """Put the kart on the centre line at a part of the lap; whether it came to stand there."""
    point, heading = race.line.point(part * max(race.line.length - LAST_METRES, 0.0))
    right = np.array([np.cos(heading), 0.0, -np.sin(heading)])
    race.place(point + start.sideways * right + [0.0, 0.3, 0.0], heading + start.turn)
    _settle(race)
    kart = race.kart()
    moved = np.linalg.norm(kart.location - point) - abs(start.sideways)
    return bool(kart.on_road and abs(kart.velocity[1]) < 1.0 and moved < 2.0)


def _settle(race: Race) -> None:
    for _ in range(round(SETTLE_STEPS_SECONDS / race.config.step_seconds)):
        race.step(Controls())


def _act(race: Race, start: Start, actions: ActionSet) -> None:
    if start.actions:
        space = copy.deepcopy(actions.space)  # the user's own may be seeded
        space.seed(start.action_seed)
        for _ in range(start.actions):
            controls = actions.controls(space.sample())
            race.step(controls._replace(rescue=False))
