"""One episode: its progress, its end and its summary."""

import math
from typing import Any

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import Progress
from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.world import KartState
from kart_jax.game.rewards import PAR_SPEED, Outcome

CARRIED = 0.05
"""Metres moved in a step at a speed of exactly 0 from which on the game carries the kart."""
RESCUE_PAUSE = 2.0
"""Game seconds within which being carried again is still the same rescue."""
WRONG_WAY = -1.0
"""Metres a second along the track below which a kart drives the wrong way."""
NEAR_FINISH = 0.98
"""Part of the race that must have been driven for the game's own finish to count."""
EPSILON = 1e-6


def ending(end: str) -> tuple[bool, bool]:
    """Return `terminated` and `truncated` of a step whose episode ends for the reason `end`, or ''.

    Only the time limit cuts an episode short. A failure terminates it: a bootstrap value there
    would promise rewards for a race that is over.
    """
    return end not in ("", "time_limit"), end == "time_limit"


class Episode:
    """Follows the kart from one action to the next."""

    def __init__(
        self, config: RaceConfig, progress: Progress, kart: KartState, on_grid: bool = True
    ) -> None:
        """Begin where the kart is handed over, on the grid or at a random point."""
        self.config = config
        self.progress = progress
        self.kart = kart
        self.on_grid = on_grid
        self.goal = config.laps * progress.line.length - progress.first
        """Metres from the start of the episode to the finish."""
        self.steps = 0
        self.rescues = 0
        self.finish_time = math.nan
        self.off_road_seconds = 0.0
        self.episode_return = 0.0
        self._carried_at = -math.inf
        self._wrong_way_since = 0.0
        self._mark, self._mark_time = 0.0, 0.0
        self._start_action()

    def _start_action(self) -> None:
        self._moved = self._ground = self._off_road = 0.0
        self._rescued = self._jumped = False

    @property
    def seconds(self) -> float:
        """Game seconds since the start."""
        return self.steps * self.config.step_seconds

    @property
    def idle_seconds(self) -> float:
        """Game seconds without another metre of progress, as of the last action's end."""
        return self.seconds - self._mark_time

    def step(self, kart: KartState) -> None:
        """Follow one step of the game."""
        before, driven = self.kart, self.progress.driven
        self.kart = kart
        self.steps += 1
        travelled = math.dist(kart.location.tolist(), before.location.tolist())
        carried = kart.speed == 0.0 and travelled > CARRIED
        if carried:
            if self.seconds - self._carried_at > RESCUE_PAUSE:
                self.rescues += 1
                self._rescued = True
            self._carried_at = self.seconds
        moved, ground = self.progress.update(kart.location)
        # Neither being carried nor a leap between roads that run side by side is driving.
        self._moved += 0.0 if carried else moved
        self._ground += 0.0 if carried else min(ground, 2.0 * travelled + 1.0)
        self._jumped |= kart.jumping and not before.jumping
        off_road = 0.0 if kart.on_road else self.config.step_seconds
        self._off_road += off_road
        self.off_road_seconds += off_road
        if math.isnan(self.finish_time) and self.progress.driven >= self.goal:
            part = (self.goal - driven) / max(self.progress.driven - driven, EPSILON)
            self.finish_time = self.seconds - (1.0 - part) * self.config.step_seconds

    def end_action(self, controls: Controls, before: KartState) -> tuple[Outcome, str]:
        """Return the outcome of the steps since `before`, for rewards, and why it ends, or ''."""
        config, kart = self.config, self.kart
        wrong_way = self._moved < WRONG_WAY * config.action_seconds
        if not wrong_way:
            self._wrong_way_since = self.seconds
        end = self._end()
        saved = max(self.goal / PAR_SPEED - self.finish_time, 0.0) if end == "finished" else 0.0
        outcome = Outcome(
            seconds=config.action_seconds,
            ground=self._ground,
            moved=self._moved,
            off_road=self._off_road,
            wrong_way=wrong_way,
            rescued=self._rescued,
            jumped=self._jumped,
            finished=end == "finished",
            saved=saved,
            overtaken=before.position - kart.position,
            controls=controls,
            powerup_before=before.powerup,
            powerup=kart.powerup,
        )
        self._start_action()
        return outcome, end

    def _end(self) -> str:
        config, driven = self.config, self.progress.driven
        near = driven >= NEAR_FINISH * self.goal
        if self.kart.finished and near and math.isnan(self.finish_time):
            self.finish_time = self.seconds
        if not math.isnan(self.finish_time):
            return "finished"
        if self.kart.finished:
            return "short_cut"
        if driven >= self._mark + 1.0:
            self._mark, self._mark_time = driven, self.seconds
        if self.seconds >= config.time_limit - EPSILON:
            return "time_limit"
        if self.seconds - self._wrong_way_since >= config.wrong_way_seconds - EPSILON:
            return "wrong_way"
        if self.seconds - self._mark_time >= config.stuck_seconds - EPSILON:
            return "stuck"
        return ""

    def summary(self, track: str, end: str) -> dict[str, Any]:
        """Return `info["summary"]` of an episode that ends: plain floats, bools and strings."""
        finished = end == "finished"
        driven = min(self.progress.driven, self.goal)
        return {
            "progress_m": driven,
            "progress_fraction": 1.0 if finished else driven / self.goal,
            "finished": finished,
            "finish_time": self.finish_time,
            "game_seconds": self.seconds,
            "position": float(self.kart.position),
            "rescues": float(self.rescues),
            "off_road_seconds": self.off_road_seconds,
            "return": self.episode_return,
            "length": float(self.steps // self.config.action_repeat),
            "track": track,
            "on_grid": self.on_grid,
            "end": end,
        }
