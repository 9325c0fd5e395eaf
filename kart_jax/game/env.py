"""SuperTuxKart as a Gymnasium environment: pixels, the state, or both."""

from typing import Any

import gymnasium as gym
import numpy as np

from kart_jax.game.actions import ACTION_SETS, Controls, check_action, mean_controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.catalogue import check_installed, check_track
from kart_jax.game.engine.race import Race
from kart_jax.game.engine.world import KartState
from kart_jax.game.episode import Episode, ending
from kart_jax.game.errors import GameError
from kart_jax.game.guide import Guide
from kart_jax.game.labels import label_pixels
from kart_jax.game.observation import Frame, FrameStack, make_frame, observation_space
from kart_jax.game.rewards import Reward
from kart_jax.game.road import Road
from kart_jax.game.start import DRAWN_SEEDS, check_options, draw_start, take_start
from kart_jax.game.state import Standing, State, StateReader, road_of
from kart_jax.validation import check


class KartEnv(gym.Env[Any, Any]):
    """One race on the real game, which needs a process of its own.

    A process has one race at a time: the `reset` of one environment ends another's. All of them
    must draw at one size, or not draw and race on one track. The game starts with the first.
    """

    metadata = {"render_modes": ["rgb_array", "human"]}  # noqa: RUF012

    def __init__(self, config: RaceConfig | None = None, render_mode: str | None = None) -> None:
        """Check the configuration against the installed data; the game itself is not started.

        Raises:
            ValueError: names the field, the value and what is allowed.
            DataError: the game's data is missing or of another version.
        """
        self.config = config or RaceConfig()
        check_installed(self.config)
        check(
            self.config.draws or len(self.config.track) == 1,
            "track",
            self.config.track,
            "a single one with observation = 'state', since a process that does not draw keeps "
            "its track; KartVectorEnv assigns each of its processes one of several",
        )
        modes = [None, *self.metadata["render_modes"]]
        if not self.config.draws:
            modes = [None]  # nothing is drawn
        check(render_mode in modes, "render_mode", render_mode, f"one of {modes}")
        self.render_mode = render_mode
        fps = round(1 / self.config.action_seconds)
        # A process draws in a window or not: others of it have no more than these.
        modes = ["human"] if render_mode == "human" else ["rgb_array"] if self.config.draws else []
        self.metadata = {"render_modes": modes, "render_fps": max(fps, 1)}
        self.observation_space = observation_space(self.config)
        self._actions = ACTION_SETS[self.config.action_set]()
        self.action_space = self._actions.space
        self._meanings: dict[bytes, Controls] = {}
        self._reward = Reward(self.config.reward, dict(self.config.reward_weights))
        self._stack = FrameStack(self.config)
        self._road: Road | None = None
        self._reader: StateReader | None = None
        self._controls, self._items_change = Controls(), False
        self._race: Race | None = None
        self._episode: Episode | None = None
        self._guide: Guide | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a race at GO.

        Args:
            seed: seeds the draws of all episodes from here on.
            options: `track` and `reverse` for a given race; `episode_seed`, from an
                earlier `info`, for that very episode again.

        Raises:
            ValueError: an unknown option or track, or a value that is not allowed.
            GameError: the game cannot run; says what to do.
        """
        options = {} if options is None else options
        check_options(options)
        super().reset(seed=seed)
        episode_seed = int(options.get("episode_seed", self.np_random.integers(DRAWN_SEEDS)))
        start = draw_start(self.config, episode_seed, options)
        check_track(start.track, start.reverse)
        if self._race is None or not self._race.is_open:
            self._race = Race(self.config, window=self.render_mode == "human")
        progress, on_grid = take_start(self._race, start, self._actions)
        self._start, self._end = start, ""
        self._episode = Episode(self.config, progress, self._race.kart(), on_grid)
        self._guide = None
        if self.config.draws:
            self._stack.fill(self._draw())
        if self.config.observation != "frames":
            self._reader = self._begin_state(self._race)
        return self._observe(), self._about()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for one action.

        Raises:
            ValueError: the action is no member of the action space.
            GameError: before the first `reset`, or after the episode's end.
        """
        race, episode = self._playing()
        if self._end:
            raise GameError(f"the episode has ended ({self._end}): call reset() before step()")
        controls = Controls() if self.config.driver == "ai" else self._meaning(action)
        before = episode.kart
        driven = []
        for _ in range(self.config.action_repeat):
            race.step(controls)
            kart = race.kart()
            episode.step(kart)
            if self.config.driver == "ai":
                driven.append(race.controls())
            if self._reader is not None:
                held = driven[-1] if driven else controls
                self._reader.step(kart, held, self.config.step_seconds)
        if driven:
            controls = mean_controls(driven)
        self._controls = controls
        outcome, end = episode.end_action(controls, before)
        self._end = end
        reward, terms = self._reward(outcome)
        episode.episode_return += reward
        if self.config.draws:
            self._stack.push(self._draw())
        info: dict[str, Any] = {**self._about(), "reward_terms": terms}
        if self.config.driver == "ai":
            info["controls"] = controls._asdict()
        if end:
            info["end"] = end
            info["summary"] = episode.summary(self._start.track, end)
        return self._observe(), reward, *ending(end), info

    def _meaning(self, action: Any) -> Controls:
        """The controls of an action, which is looked up where it was met before."""
        known = isinstance(action, np.ndarray) and action.dtype == self.action_space.dtype
        key = action.tobytes() if known and action.dtype.kind == "i" else b""
        if key not in self._meanings:
            check_action(self.action_space, action)
            controls = self._actions.controls(action)
            if not key:
                return controls
            self._meanings[key] = controls
        return self._meanings[key]

    def _playing(self) -> tuple[Race, Episode]:
        if self._race is None or self._episode is None:
            raise GameError("there is no race: call reset() before step()")
        if not self._race.is_open:
            raise GameError(
                "another environment of this process has begun a race since, and a process has one "
                "at a time: use a process for each, or call reset() to race here again"
            )
        return self._race, self._episode

    def _about(self) -> dict[str, Any]:
        start = self._start
        return {"track": start.track, "reverse": start.reverse, "episode_seed": start.seed}

    def _draw(self) -> Frame:
        race, _ = self._playing()
        config = self.config
        self._image = race.image()
        if not (config.depth or config.labels):
            return make_frame(config, self._image)
        view = race.view()
        labels = None
        if config.labels:
            labels = label_pixels(view.points(), race.line, race.items(), race.bodies())
        return make_frame(config, self._image, view.metres if config.depth else None, labels)

    def _begin_state(self, race: Race) -> StateReader:
        if self._road is None or self._road.line is not race.line:
            self._road = road_of(race.line)
        self._controls, self._items_change = Controls(), False
        return StateReader(self._road, race.items())

    def _observe(self) -> Any:
        if self._reader is None:
            return self._stack.observe()
        state = self._read_state(self._reader)
        if not self.config.draws:
            return state
        return {"frames": self._stack.observe(), "state": state}

    def _read_state(self, reader: StateReader) -> State:
        race, episode = self._playing()
        others = race.others() if self.config.karts > 1 else ()
        # What lies on the road changes when karts use what they hold; to ask for it takes time.
        self._items_change |= self.config.karts > 1 or self._controls.fire
        if self._items_change and episode.steps % round(1.0 / self.config.step_seconds) == 0:
            reader.set_items(race.items())
        standing = Standing(
            self.config.laps, episode.progress.along, episode.seconds, episode.idle_seconds
        )
        return reader.read(episode.kart, episode.progress.place, standing, others)

    @property
    def kart(self) -> KartState:
        """The observed kart after the last step."""
        return self._playing()[1].kart

    def guide(self, drifting: bool = False) -> Controls:
        """Return what the guide, which knows where the road is, would do next."""
        race, episode = self._playing()
        if self._guide is None:
            self._guide = Guide(race.line, race.items())
        return self._guide.controls(episode.progress.place, episode.kart, drifting)

    @property
    def line(self) -> CentreLine:
        """The centre line of the track that is raced on."""
        return self._playing()[0].line

    def render(self) -> Any:
        """Return the observation's own frame in colour, uint8 [H, W, 3], in the mode `rgb_array`.

        For another size, or with the game's display, see `kart_jax.game.replay`.
        """
        if self.render_mode != "rgb_array":
            return None
        self._playing()
        return np.array(self._image)

    def close(self) -> None:
        """Leave the race; the game stays loaded until the process ends."""
        if self._race is not None:
            self._race.close()
            self._race = None
            self._episode = None
