"""One race in this process, as plain NumPy and dataclasses. Only here is pystk2 imported."""

import math
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.config import RaceConfig
from kart_jax.game.data import VARIABLE, ensure_data
from kart_jax.game.errors import RaceInUseError
from kart_jax.game.rendering import prepare_environment

_engine: ModuleType | None = None
_screen: tuple[int, int] | None = None
_running: "Race | None" = None


@dataclass(frozen=True)
class KartState:
    """What is known of the kart after a step."""

    location: npt.NDArray[np.float32]
    """[3], metres; y is up."""
    velocity: npt.NDArray[np.float32]
    """[3], metres a second."""
    speed: float
    """Metres a second, negative backwards."""
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


def _start_engine(width: int, height: int) -> ModuleType:
    """Import and initialise the game once; it draws at one size for the life of the process."""
    global _engine, _screen
    if _engine is None:
        os.environ[VARIABLE] = str(ensure_data())
        prepare_environment()
        import pystk2

        graphics = pystk2.GraphicsConfig.ld()
        graphics.screen_width, graphics.screen_height = width, height
        graphics.display = False
        pystk2.set_log_level(int(pystk2.LogLevel.fatal))
        pystk2.init(graphics)
        _engine, _screen = pystk2, (width, height)
    elif _screen != (width, height):
        raise RaceInUseError(
            f"this process draws frames of {_screen} (width, height) and cannot change to "
            f"{(width, height)}: use another process for another size"
        )
    return _engine


class Race:
    """A race on one track after another, from GO to the finish."""

    def __init__(self, config: RaceConfig) -> None:
        """Start the game in this process.

        Raises:
            RaceInUseError: this process has a race already, or draws at another size.
        """
        global _running
        if _running is not None:
            raise RaceInUseError(
                "this process has a race already: close it, or start another process"
            )
        self.config = config
        self._stk = _start_engine(config.width, config.height)
        self._world = self._stk.WorldState()
        self._race: Any = None
        self._loaded: tuple[str, bool] | None = None
        self.line: CentreLine
        self.time = 0.0
        _running = self

    def begin(self, track: str, reverse: bool) -> None:
        """Load a track or restart on it, and run the intro, undrawn, up to GO."""
        if self._loaded == (track, reverse):
            self._race.restart()
        else:
            self._load(track, reverse)
        idle = self._stk.Action()
        go = self._stk.WorldState.Phase.GO_PHASE
        self._world.update()
        while self._world.phase != go:
            self._race.step(idle)
            self._world.update()
        self.time = 0.0

    def _load(self, track: str, reverse: bool) -> None:
        self._unload()
        config = self._stk.RaceConfig()
        config.track, config.reverse = track, reverse
        config.laps, config.num_kart = 1, 1
        config.difficulty = self.config.difficulty
        config.step_size = self.config.step_seconds
        config.overlay = False
        self._race = self._stk.Race(config)
        self._race.start()
        # The game draws nothing before the first step.
        self._race.step(self._stk.Action())
        road = self._stk.Track()
        road.update()
        self.line = CentreLine(
            road.path_nodes, road.path_distance, road.path_width, road.successors, road.length
        )
        self._loaded = (track, reverse)

    def step(self, controls: Controls) -> None:
        """Hold the controls for one step of the game."""
        self._race.step(
            self._stk.Action(
                steer=controls.steer,
                acceleration=controls.acceleration,
                brake=controls.brake,
                nitro=controls.nitro,
                drift=controls.drift,
                rescue=controls.rescue,
                fire=controls.fire,
            )
        )
        self._world.update()
        self.time += self.config.step_seconds

    def kart(self) -> KartState:
        """The observed kart."""
        kart = self._world.players[0].kart
        front = kart.front - kart.location
        return KartState(
            location=kart.location,
            velocity=kart.velocity,
            speed=kart.speed,
            heading=math.atan2(front[0], front[2]),
            on_road=kart.is_on_road,
            jumping=kart.jumping,
            finished=kart.has_finished_race,
            position=kart.position,
            energy=kart.energy,
            powerup=kart.powerup.type.name,
        )

    def image(self) -> npt.NDArray[np.uint8]:
        """Draw the frame: [height, width, 3]."""
        return np.asarray(self._race.render_data[0].image)

    def _unload(self) -> None:
        if self._race is not None:
            self._race.stop()
            self._race = None
            self._loaded = None

    def close(self) -> None:
        """Leave the race; the process may start another one of the same size."""
        global _running
        if _running is self:
            self._unload()
            _running = None
