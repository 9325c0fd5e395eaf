"""A tiny deterministic kart game without graphics: the real one's interface, for tests.

A road of 200 m winds through grass between two walls. A frame is the part of the map
ahead of the kart, so a policy that sees the bends can learn to follow them; going
straight ends at a wall. A step takes tens of microseconds. What only the real game
has (karts, laps, starts, rewards by name) is not looked at.
"""

import math
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.game.actions import ACTION_SETS, Controls, check_action
from kart_jax.game.config import RaceConfig
from kart_jax.game.episode import ending
from kart_jax.game.observation import FrameStack, observation_space
from kart_jax.game.start import check_options
from kart_jax.game.state import AHEAD as STATE_AHEAD
from kart_jax.game.state import State, encode
from kart_jax.validation import check

LENGTH = 200.0
"""Length of every track in metres."""
ROAD = 3.0
"""Half the width of the road in metres; the walls stand `VERGE` beyond its edges."""
VERGE = 2.0
SWING = 8.0
"""The furthest that the road's centre line strays sideways, in metres."""
AHEAD, ACROSS = 24.0, 16.0
"""Metres of road that a frame shows."""
SIDE_SPEED = 8.0
"""Sideways metres per second at full steering."""
BRAKING = 12.0
"""Change of speed in metres per second squared, forwards and back."""
GUIDE_SECONDS = 0.2
"""How far ahead its guide looks."""

Frames = NDArray[np.uint8]


@dataclass
class FakeEpisode:
    """All that changes during an episode (metres and seconds of game time)."""

    track: str
    lateral: float
    distance: float = 0.0
    speed: float = 0.0
    seconds: float = 0.0
    best_seconds: float = 0.0
    off_road_seconds: float = 0.0
    episode_return: float = 0.0
    steps: int = 0


def centre_line(track: str, distance: float) -> float:
    """Return the road's centre sideways in metres, 0 at the start."""
    key = zlib.crc32(track.encode())
    first, second = 25 + key % 7, 11 + key // 7 % 5
    sign = 1 if key // 35 % 2 else -1
    return sign * SWING * (0.7 * math.sin(distance / first) + 0.3 * math.sin(distance / second))


@lru_cache(maxsize=32)
def draw_map(track: str, height: int, width: int, channels: int) -> Frames:
    """Draw the whole track from above, uint8 `[rows, columns, channels]`, the start at the bottom.

    A frame of `[height, width]` is a window of it.
    """
    rows = height + math.ceil(LENGTH / AHEAD * height) + 1
    columns = width + math.ceil(2 * (SWING + ROAD + VERGE) / ACROSS * width) + 1
    distance = np.arange(rows)[::-1, None] * AHEAD / height
    lateral = (np.arange(columns)[None] - columns / 2) * ACROSS / width
    centre = np.array([centre_line(track, ahead) for ahead in distance[:, 0]])
    offset = np.abs(lateral - centre[:, None])
    brightness = np.where(distance % 6 < 3, 200, 160)  # stripes show the speed
    brightness = np.where(distance > LENGTH, 255, brightness)
    grey = np.where(offset < ROAD, brightness, np.where(offset < ROAD + VERGE, 80, 0))
    if channels == 1:
        return grey[..., None].astype(np.uint8)
    tint = np.where(offset[..., None] < ROAD, [1.0, 1.0, 1.0], [0.4, 1.0, 0.4])
    return (grey[..., None] * tint).astype(np.uint8)


class FakeKartEnv(gymnasium.Env[Any, Any]):
    """The stand-in game as an environment; `get_state` and `set_state` resume it exactly."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, config: RaceConfig, render_mode: str | None = None) -> None:
        """Prepare a game of `config`; `reset` starts the first episode."""
        self.config = config
        modes = [None, *self.metadata["render_modes"]]
        if not config.draws:
            modes = [None]
        check(render_mode in modes, "render_mode", render_mode, f"one of {modes}")
        self.render_mode = render_mode
        for name in ("depth", "labels"):
            check(not getattr(config, name), name, True, "False: the fake game has none")
        self.observation_space = observation_space(config)
        self._actions = ACTION_SETS[config.action_set]()
        self.action_space = self._actions.space
        self._stack = FrameStack(config)
        self._top_speed = 12.0 + 4.0 * config.difficulty
        self._episode = FakeEpisode(config.track[0], 0.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start on a drawn track (or `options["track"]`), somewhere across the road.

        Raises:
            ValueError: an unknown option, or a value that is not allowed.
        """
        options = {} if options is None else options
        check_options(options)
        super().reset(seed=seed)
        drawn = self.config.track[int(self.np_random.integers(len(self.config.track)))]
        track = str(options.get("track", drawn))
        self._episode = FakeEpisode(track, float(self.np_random.uniform(-0.5, 0.5) * ROAD))
        if self.config.draws:
            self._stack.fill(self._draw())
        return self._observe(), {"track": track}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for one action.

        Raises:
            ValueError: the action is no member of the action space.
        """
        check_action(self.action_space, action)
        episode = self._episode
        gained, on_road = self._drive(self._actions.controls(action))
        finished = episode.distance >= LENGTH
        reward = 0.1 * gained - 0.01 - (0.0 if on_road else 0.02) + (5.0 if finished else 0.0)
        episode.steps += 1
        episode.episode_return += reward
        end = self._end(finished)
        if self.config.draws:
            self._stack.push(self._draw())
        info: dict[str, Any] = {"track": episode.track}
        if end is not None:
            info["end"] = end
            info["summary"] = self._summary(end)
        return self._observe(), reward, *ending(end or ""), info

    def render(self) -> Frames | None:
        """Return the newest frame as RGB uint8 `[H, W, 3]`."""
        if self.render_mode is None:
            return None
        return np.repeat(self._draw(), 3 // self.config.channels, axis=-1)

    def guide(self, drifting: bool = False) -> Controls:
        """Return what the guide would do next: full throttle, steering to the road ahead.

        Karts do not drift here.
        """
        episode = self._episode
        ahead = episode.distance + max(episode.speed, 1.0) * GUIDE_SECONDS
        wanted = (centre_line(episode.track, ahead) - episode.lateral) / GUIDE_SECONDS
        return Controls(steer=min(max(wanted / SIDE_SPEED, -1.0), 1.0), acceleration=1.0)

    def get_state(self) -> dict[str, Any]:
        """Return everything that the episode's future depends on; picklable."""
        return {
            "run": asdict(self._episode),
            "random": self.np_random.bit_generator.state,
            "stack": np.array(self._stack.frames),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `get_state` was called."""
        self._episode = FakeEpisode(**state["run"])
        self.np_random.bit_generator.state = state["random"]
        self._stack.frames.extend(state["stack"])

    def _drive(self, controls: Controls) -> tuple[float, bool]:
        """Move the kart; the metres gained and whether it is on the road."""
        episode, seconds = self._episode, self.config.action_seconds
        throttle = controls.acceleration - controls.brake
        centre = centre_line(episode.track, episode.distance)
        offset = abs(episode.lateral - centre)
        limit = 0.0 if offset > ROAD + VERGE else 3.0 if offset > ROAD else self._top_speed
        episode.speed = min(max(episode.speed + BRAKING * throttle * seconds, 0.0), limit)
        room = SWING + ROAD + VERGE
        episode.lateral = min(
            max(episode.lateral + SIDE_SPEED * controls.steer * seconds, -room), room
        )
        gained = episode.speed * seconds
        episode.distance += gained
        episode.seconds += seconds
        episode.off_road_seconds += 0.0 if offset <= ROAD else seconds
        if gained > 0:
            episode.best_seconds = episode.seconds
        return gained, offset <= ROAD

    def _end(self, finished: bool) -> str | None:
        episode = self._episode
        if finished:
            return "finished"
        if episode.seconds >= self.config.time_limit - 1e-6:
            return "time_limit"
        if episode.seconds - episode.best_seconds >= self.config.stuck_seconds - 1e-6:
            return "stuck"
        return None

    def _summary(self, end: str) -> dict[str, Any]:
        episode, finished = self._episode, end == "finished"
        return {
            "progress_m": min(episode.distance, LENGTH),
            "progress_fraction": min(episode.distance / LENGTH, 1.0),
            "finished": finished,
            "finish_time": episode.seconds if finished else math.nan,
            "game_seconds": episode.seconds,
            "position": 1.0,
            "rescues": 0.0,
            "off_road_seconds": episode.off_road_seconds,
            "return": episode.episode_return,
            "length": float(episode.steps),
            "track": episode.track,
            "on_grid": True,
            "end": end,
        }

    def _observe(self) -> Any:
        if not self.config.draws:
            return self._state()
        frames = self._stack.observe()
        both = self.config.observation == "both"
        return {"frames": frames, "state": self._state()} if both else frames

    def _state(self) -> State:
        """What the fake game has of the real one's state; the kart's heading is the road's axis."""
        episode = self._episode
        lateral = episode.lateral - centre_line(episode.track, episode.distance)
        phase = 2 * math.pi * episode.distance / LENGTH
        values = {
            "speed": episode.speed,
            "velocity_ahead": episode.speed,
            "on_road": float(abs(lateral) <= ROAD),
            "heading_cos": 1.0,
            "lateral": lateral,
            "half_width": ROAD,
            "room_left": ROAD + lateral,
            "room_right": ROAD - lateral,
            "lap_sin": math.sin(phase),
            "lap_cos": math.cos(phase),
            "laps_left": 1.0 - episode.distance / LENGTH,
            "distance_left": LENGTH - episode.distance,
            "seconds": episode.seconds,
            "stuck_seconds": episode.seconds - episode.best_seconds,
        }
        for metres in STATE_AHEAD:
            name, ahead = f"road_{metres}", episode.distance + metres
            values[f"{name}_right"] = centre_line(episode.track, ahead) - episode.lateral
            values[f"{name}_ahead"], values[f"{name}_half_width"] = float(metres), ROAD
        return encode(values)

    def _draw(self) -> Frames:
        """The newest frame, uint8 `[H, W, C]`: a window of the map."""
        config, episode = self.config, self._episode
        whole = draw_map(episode.track, config.height, config.width, config.channels)
        travelled = int(min(episode.distance, LENGTH) / AHEAD * config.height)
        top = len(whole) - config.height - travelled
        left = int(whole.shape[1] / 2 + episode.lateral / ACROSS * config.width - config.width / 2)
        return whole[top : top + config.height, left : left + config.width]
