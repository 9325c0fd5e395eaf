"""SuperTuxKart from pixels, as a Gymnasium environment."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import ACTION_SETS
from kart_jax.game.centreline import Progress
from kart_jax.game.config import RaceConfig
from kart_jax.game.race import KartState, Race


class KartEnv(gym.Env[Any, Any]):
    """One race. Needs a process of its own: see `kart_jax.game.errors.RaceInUseError`."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, config: RaceConfig | None = None, render_mode: str | None = None) -> None:
        """Set up spaces; the game itself starts at the first reset."""
        self.config = config or RaceConfig()
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self.config.step_seconds)}
        shape = (self.config.stack, self.config.height, self.config.width, self.config.channels)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self._actions = ACTION_SETS[self.config.action_set]()
        self.action_space = self._actions.space
        self._race: Race | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a race."""
        super().reset(seed=seed)
        if self._race is None:
            self._race = Race(self.config)
        track = self.config.track[int(self.np_random.integers(len(self.config.track)))]
        self._track = track
        self._race.begin(track, False)
        kart = self._race.kart()
        self._progress = Progress(self._race.line, kart.location)
        self._goal = self._race.line.length - self._progress.first
        self._return, self._length, self._off_road = 0.0, 0, 0.0
        self._mark, self._mark_time = 0.0, 0.0
        frame = self._frame()
        self._stack = np.repeat(frame[None], self.config.stack, axis=0)
        return self._stack.copy(), {"track": track}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for one step."""
        assert self._race is not None
        self._race.step(self._actions.controls(action))
        kart = self._race.kart()
        gained = self._progress.update(kart.location)
        seconds = self.config.step_seconds
        self._length += 1
        self._off_road += 0.0 if kart.on_road else seconds
        driven = self._progress.best - self._progress.first
        end = self._end(kart, driven)
        reward = 0.1 * gained - 0.1 * seconds - (0.0 if kart.on_road else 0.1 * seconds)
        if end == "finished":
            reward += 5.0 + 0.1 * max(0.0, self._goal / 10.0 - self._race.time)
        self._return += reward
        self._stack = np.concatenate([self._stack[1:], self._frame()[None]])
        info: dict[str, Any] = {"track": self._track}
        if end:
            info["episode"] = self._episode(kart, driven, end)
        return self._stack.copy(), reward, end == "finished", end not in ("", "finished"), info

    def _end(self, kart: KartState, driven: float) -> str:
        assert self._race is not None
        if driven >= self._goal or kart.finished:
            return "finished"
        if driven >= self._mark + 1.0:
            self._mark, self._mark_time = driven, self._race.time
        if self._race.time >= self.config.time_limit:
            return "time_limit"
        if self._race.time - self._mark_time >= self.config.stuck_seconds:
            return "stuck"
        return ""

    def _episode(self, kart: KartState, driven: float, end: str) -> dict[str, Any]:
        assert self._race is not None
        return {
            "progress_m": driven,
            "progress_fraction": min(driven / self._goal, 1.0),
            "finished": end == "finished",
            "finish_time": self._race.time if end == "finished" else math.nan,
            "game_seconds": self._race.time,
            "position": float(kart.position),
            "rescues": 0.0,
            "off_road_seconds": self._off_road,
            "return": self._return,
            "length": float(self._length),
            "track": self._track,
            "end": end,
        }

    def _frame(self) -> npt.NDArray[np.uint8]:
        assert self._race is not None
        image = self._race.image()
        self._image = image
        if self.config.colour == "rgb":
            return image
        grey = image.astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8
        return grey.astype(np.uint8)[..., None]

    def render(self) -> Any:
        """The observation's own colour frame [height, width, 3]."""
        return self._image if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Leave the game."""
        if self._race is not None:
            self._race.close()
            self._race = None
