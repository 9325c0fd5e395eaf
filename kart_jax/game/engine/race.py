"""One race in this process, as plain NumPy and dataclasses."""

import ctypes
import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.config import TICK, RaceConfig
from kart_jax.game.engine import camera, countdown, start_boost
from kart_jax.game.engine.engine import start_engine
from kart_jax.game.engine.heap import give_back, large_blocks_apart
from kart_jax.game.engine.lean import ensure_track
from kart_jax.game.engine.world import Item, KartBody, KartState, body_of, item_of, kart_state
from kart_jax.game.errors import GameError

ACTIONS = 1024
"""How many of the controls last used are kept in the game's own form."""
_INTRO_STEPS = 2000
"""Steps after which a race that has not begun is given up: 16.7 s of the game at 1/120 s each."""


class Race:
    """Races on one track after another, each from GO on."""

    def __init__(self, config: RaceConfig, window: bool = False) -> None:
        """Start the game in this process; `config` must have passed `check_installed`.

        A process has one race at a time: an open one, which may be nobody's any more, is closed.

        Raises:
            RaceInUseError: this process draws at another size or not at all, has had another
                driver, or has a race in another thread.
            DataError: the game's data is missing or of another version.
            GraphicsError: this machine cannot draw.
        """
        self._engine = start_engine(config, window)
        self._stk = self._engine.pystk2
        self.config = config
        self._world = self._stk.WorldState()
        make = self._stk.Action
        self._action = lru_cache(ACTIONS)(lambda controls: make(**controls._asdict()))
        self._race: Any = None
        self._loaded: tuple[str, bool] | None = None
        self._index = 0
        self.line: CentreLine
        self._engine.open(self)

    @property
    def is_open(self) -> bool:
        """Whether it was neither closed nor ended by a newer one."""
        return self._engine.race is self

    def begin(self, track: str, reverse: bool, place: int, seed: int, on_grid: bool = True) -> None:
        """Load a track, or restart on it, and run the countdown, undrawn, up to GO.

        The start is the same for the same arguments. Karts that the game drives stand still
        after a restart, so with any the race is loaded anew.

        Args:
            track: a race track's name.
            reverse: whether to drive it in reverse.
            place: place on the grid, 1 in front.
            seed: for the items and the opponents.
            on_grid: False if the kart is then put elsewhere; until "Set!" only the clock runs,
                which takes little time.

        Raises:
            RaceInUseError: this process does not draw, and has raced on another track.
            GameError: the race does not begin.
        """
        self._engine.keep_track(track)
        alone = self.config.karts == 1 and self.config.driver == "agent"
        # The opponents draw from the C library's random numbers too.
        ctypes.CDLL(None).srand(seed)
        if alone and self._loaded == (track, reverse):
            self._race.config.seed = seed
            self._race.restart()
        else:
            self._load(track, reverse, place, seed)
        self._count_down(moving=on_grid or not alone)

    def _load(self, track: str, reverse: bool, place: int, seed: int) -> None:
        self._unload()
        if self.config.draws and self.config.scenery == "lean":
            ensure_track(self._engine.data, track)
        config = self._stk.RaceConfig()
        config.track, config.reverse, config.seed = track, reverse, seed
        config.laps, config.num_kart = self.config.laps, self.config.karts
        config.players = self._players(place, seed)
        config.difficulty = self.config.difficulty
        config.step_size = self.config.step_seconds
        config.overlay = self.config.hud
        with large_blocks_apart():
            self._race = self._stk.Race(config)
            self._race.start()
            # How many numbers loading draws depends on the scenery.
            ctypes.CDLL(None).srand(seed)
            # Without a first step the game knows no road yet, and much is loaded to be drawn.
            self.step(Controls())
            if self.config.draws:
                self._race.render_data[0].image  # noqa: B018
        road = self._stk.Track()
        road.update()
        self.line = CentreLine(
            road.path_nodes, road.path_distance, road.path_width, road.successors, road.length
        )
        self._loaded = (track, reverse)
        self._index = place - 1

    def _players(self, place: int, seed: int) -> Any:
        """Every kart as a player, in the order of the grid: so their models are ours to choose."""
        player = self._stk.PlayerConfig
        human, ai = player.Controller.PLAYER_CONTROL, player.Controller.AI_CONTROL
        models = np.random.default_rng(seed).choice(self._stk.list_karts(), self.config.karts)
        players = [
            player(kart=str(model), controller=ai, camera_mode=player.CameraMode.OFF)
            for model in models
        ]
        players[place - 1] = player(
            kart=self.config.kart,
            controller=human if self.config.driver == "agent" else ai,
            camera_mode=player.CameraMode.ON if self.config.draws else player.CameraMode.OFF,
        )
        return self._stk.VectorPlayerConfig(players)

    def _count_down(self, moving: bool) -> None:
        """Run the countdown; unless karts are `moving`, only its last second in full."""
        phases = self._stk.WorldState.Phase
        ticks = round(self.config.step_seconds / TICK)
        self._world.update()
        wanted, held = self.config.hold_start and self.config.driver == "agent", False
        for _ in range(_INTRO_STEPS):
            if self._world.phase == phases.GO_PHASE:
                return
            moving |= self._world.phase == phases.SET_PHASE
            if not moving:
                countdown.pass_time(str(self._stk.__file__), ticks)
                self._world.update()
                continue
            if wanted and not held and self._world.phase == phases.SET_PHASE:
                start_boost.press(str(self._stk.__file__), self._index, self._world.aux_ticks)
                held = True
            self.step(Controls(acceleration=float(held)))
        raise GameError(f"the race on {self._loaded} did not begin: the game's data may be damaged")

    def step(self, controls: Controls) -> None:
        """Hold the controls for one step of the game; the game's own driver ignores them."""
        if self.config.driver == "agent":
            self._race.step(self._action(controls))
        else:
            self._race.step([])
        self._world.update()

    def kart(self) -> KartState:
        """Return the observed kart."""
        return kart_state(self._world.karts[self._index])

    def others(self) -> list[KartState]:
        """Return the other karts."""
        return [
            kart_state(kart)
            for number, kart in enumerate(self._world.karts)
            if number != self._index
        ]

    def items(self) -> list[Item]:
        """Return the items that lie on the road."""
        return [item_of(item) for item in self._world.items]

    def bodies(self) -> list[KartBody]:
        """Return the bodies of all karts, the observed one first."""
        karts = list(self._world.karts)
        karts.insert(0, karts.pop(self._index))
        return [body_of(kart) for kart in karts]

    def controls(self) -> Controls:
        """Return what the observed kart's driver does at present."""
        action = self._race.get_kart_action(self._index)
        return Controls(*(getattr(action, name) for name in Controls._fields))

    def place(self, location: npt.NDArray[np.float64], heading: float) -> None:
        """Put the observed kart down, standing, at a point [3] and with a heading in radians."""
        turn = [0.0, math.sin(heading / 2), 0.0, math.cos(heading / 2)]
        self._stk.WorldState.set_kart_location(self._index, location.tolist(), turn, 0.0)

    def image(self) -> npt.NDArray[np.uint8]:
        """Draw the frame: [height, width, 3]."""
        self._engine.check_thread()
        return np.asarray(self._race.render_data[0].image)

    def view(self) -> camera.View:
        """Return how far away the pixels of the frame are, and where in the world."""
        return camera.look(str(self._stk.__file__), self._race.render_data[0].depth)

    def _unload(self) -> None:
        if self._race is not None:
            self._race.stop()
            self._race = None
            self._loaded = None
            give_back()

    def close(self) -> None:
        """Leave the race; the process may start another one of the same size."""
        if self.is_open:
            self._unload()
            self._engine.race = None
