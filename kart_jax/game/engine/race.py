"""One race in this process, as plain NumPy and dataclasses. Only here is pystk2 imported."""

import atexit
import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.config import RaceConfig, Scenery
from kart_jax.game.engine import camera, start_boost
from kart_jax.game.engine.data import VARIABLE, ensure_data
from kart_jax.game.engine.heap import give_back, large_blocks_apart
from kart_jax.game.engine.lean import ensure_track, lean_data
from kart_jax.game.engine.patched import patched_data
from kart_jax.game.engine.rendering import check_graphics, prepare_environment
from kart_jax.game.errors import GameError, RaceInUseError

_INTRO_STEPS = 2000
"""Steps after which a race that has not begun is given up: 16.7 s of the game at 1/120 s each."""

_engine: ModuleType | None = None
_graphics: tuple[int, int, bool, Scenery] | None = None
"""Width, height, window and scenery of what this process draws; None: nothing."""
_data = Path()
"""The game's data, of which this process may use a lean view."""
_process = _thread = 0
"""The process and the thread that started the game."""
_running: "Race | None" = None
"""This process's open race: the newest."""
_driver: str | None = None
"""Who drove in this process's races so far."""
_undrawn_track: str | None = None
"""The track of this process's races, where it does not draw."""


@dataclass(frozen=True)
class KartState:
    """What is known of the observed kart after a step."""

    location: npt.NDArray[np.float32]
    """[3], metres; y is up."""
    velocity: npt.NDArray[np.float32]
    """[3], metres a second."""
    speed: float
    """Metres a second, negative backwards; exactly 0 while the game carries the kart."""
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
    skid: float
    """How much the kart skids: 1 not at all, growing while it does."""
    local_velocity: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))
    """[3], metres a second: to the kart's right, upwards and ahead."""
    yaw_rate: float = 0.0
    """Radians a second, to the right positive."""
    pitch: float = 0.0
    """Radians, with the nose up positive."""
    roll: float = 0.0
    """Radians, with the right side up positive."""
    powerups: int = 0
    """How many of the power-up are held."""
    attachment: str = "NOTHING"
    """Name of what sticks to the kart."""


@dataclass(frozen=True)
class Item:
    """Something that lies on the road."""

    kind: Literal["box", "nitro", "hazard", "other"]
    """A box holds a power-up; a hazard (banana, bubble gum) slows down."""
    location: npt.NDArray[np.float64]
    """[3], metres; y is up."""
    radius: float = 0.5
    """Metres from its middle to its side, as it is drawn."""
    height: float = 1.0
    """Metres that it stands above its location, as it is drawn."""


@dataclass(frozen=True)
class KartBody:
    """The space that a kart takes in the game's physics."""

    location: npt.NDArray[np.float64]
    """[3], metres; the middle of its floor."""
    up: npt.NDArray[np.float64]
    """[3]: its own direction upwards, of length 1."""
    size: npt.NDArray[np.float64]
    """[3]: width, height and length, metres."""


_ITEMS: dict[str, tuple[Literal["box", "nitro", "hazard", "other"], float, float]] = {
    "BONUS_BOX": ("box", 0.65, 1.2),
    "NITRO_SMALL": ("nitro", 0.4, 0.9),
    "NITRO_BIG": ("nitro", 0.8, 1.5),
    "BANANA": ("hazard", 0.5, 1.4),
    "BUBBLEGUM": ("hazard", 0.5, 0.5),
}
"""Kind, radius and height of items by the game's own names; the sizes are from depth images."""
_OTHER: tuple[Literal["other"], float, float] = ("other", 0.5, 1.0)


def _start_engine(wanted: tuple[int, int, bool, Scenery] | None) -> ModuleType:
    """Import and initialise the game once; it draws at one size for the life of the process."""
    global _engine, _graphics, _data, _process, _thread
    if _engine is None:
        _data = patched_data(ensure_data())
        view = _data
        if wanted is not None and wanted[3] == "lean":
            view = lean_data(_data)
        prepare_environment()
        if wanted is not None:
            check_graphics(window=wanted[2])
        import pystk2

        if wanted is None:
            graphics = pystk2.GraphicsConfig.none()
        else:
            graphics = pystk2.GraphicsConfig.ld()
            graphics.screen_width, graphics.screen_height, graphics.display = wanted[:3]
        pystk2.set_log_level(int(pystk2.LogLevel.fatal))
        with _printing_to_stderr(), large_blocks_apart(), _variable(VARIABLE, str(view)):
            pystk2.init(graphics)
        _engine, _graphics = pystk2, wanted
        _process, _thread = os.getpid(), threading.get_ident()
    elif _graphics != wanted:
        raise RaceInUseError(
            f"this process draws (width, height, window, scenery) = {_graphics} and cannot change "
            f"to {wanted}: use another process for another size or scenery (None: nothing is drawn)"
        )
    return _engine


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, which processes started later are not to inherit."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Keep what the game prints out of a command's output, which may be read by a program."""
    if sys.stdout is None or sys.stderr is None:  # closed: some file may have their descriptors
        yield
        return
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(output, 1)
        os.close(output)


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
        global _running, _driver
        if _engine is not None and _process != os.getpid():
            raise RaceInUseError(
                "this process was forked from one that had started the game, which would hang: "
                'start processes by multiprocessing.get_context("spawn")'
            )
        if _running is not None and threading.get_ident() != _thread:
            raise RaceInUseError(
                "another thread of this process has a race: close it there, or start a process"
            )
        if _driver not in (None, config.driver):
            # The game (pystk2 0.7.4) corrupts its memory now and then when the driver changes.
            raise RaceInUseError(
                f"this process has had driver = {_driver!r} and cannot change to "
                f"{config.driver!r}: use another process for another driver"
            )
        self.config = config
        size = (config.width, config.height, window, config.scenery)
        self._stk = _start_engine(size if config.draws else None)
        _driver = config.driver
        self._world = self._stk.WorldState()
        self._race: Any = None
        self._loaded: tuple[str, bool] | None = None
        self._index = 0
        self.line: CentreLine
        if _running is not None:
            _running.close()
        _running = self

    @property
    def is_open(self) -> bool:
        """Whether it was neither closed nor ended by a newer one."""
        return _running is self

    def begin(self, track: str, reverse: bool, place: int, seed: int) -> None:
        """Load a track, or restart on it, and run the countdown, undrawn, up to GO.

        The start is the same for the same arguments. Karts that the game drives stand still
        after a restart, so with any the race is loaded anew.

        Args:
            track: a race track's name.
            reverse: whether to drive it in reverse.
            place: place on the grid, 1 in front.
            seed: for the items and the opponents.

        Raises:
            RaceInUseError: this process does not draw, and has raced on another track.
            GameError: the race does not begin.
        """
        self._keep_track(track)
        alone = self.config.karts == 1 and self.config.driver == "agent"
        # The opponents draw from the C library's random numbers too.
        ctypes.CDLL(None).srand(seed)
        if alone and self._loaded == (track, reverse):
            self._race.config.seed = seed
            self._race.restart()
        else:
            self._load(track, reverse, place, seed)
        self._count_down()

    def _keep_track(self, track: str) -> None:
        """The game (pystk2 0.7.4) may crash when its track changes while it does not draw."""
        global _undrawn_track
        if self.config.draws:
            return
        if _undrawn_track not in (None, track):
            raise RaceInUseError(
                f"this process races without drawing, and so keeps its track {_undrawn_track!r}: "
                f"use another process for {track!r}"
            )
        _undrawn_track = track

    def _load(self, track: str, reverse: bool, place: int, seed: int) -> None:
        self._unload()
        if self.config.draws and self.config.scenery == "lean":
            ensure_track(_data, track)
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

    def _count_down(self) -> None:
        phases = self._stk.WorldState.Phase
        self._world.update()
        wanted, held = self.config.hold_start and self.config.driver == "agent", False
        for _ in range(_INTRO_STEPS):
            if self._world.phase == phases.GO_PHASE:
                return
            if wanted and not held and self._world.phase == phases.SET_PHASE:
                start_boost.press(str(self._stk.__file__), self._index, self._world.aux_ticks)
                held = True
            self.step(Controls(acceleration=float(held)))
        raise GameError(f"the race on {self._loaded} did not begin: the game's data may be damaged")

    def step(self, controls: Controls) -> None:
        """Hold the controls for one step of the game; the game's own driver ignores them."""
        if self.config.driver == "agent":
            self._race.step(self._stk.Action(**controls._asdict()))
        else:
            self._race.step([])
        self._world.update()

    def kart(self) -> KartState:
        """Return the observed kart."""
        return _kart_state(self._world.karts[self._index])

    def others(self) -> list[KartState]:
        """Return the other karts."""
        return [
            _kart_state(kart)
            for number, kart in enumerate(self._world.karts)
            if number != self._index
        ]

    def items(self) -> list[Item]:
        """Return the items that lie on the road."""
        found = []
        for item in self._world.items:
            kind, radius, height = _ITEMS.get(_name(item.type), _OTHER)
            found.append(Item(kind, np.array(item.location, np.float64), radius, height))
        return found

    def bodies(self) -> list[KartBody]:
        """Return the bodies of all karts, the observed one first."""
        karts = list(self._world.karts)
        karts.insert(0, karts.pop(self._index))
        return [
            KartBody(np.array(kart.location, np.float64), _up(*kart.rotation), np.array(kart.size))
            for kart in karts
        ]

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
        if threading.get_ident() != _thread:
            raise RaceInUseError(
                "another thread started the game, and frames drawn in this one would be black: "
                "make, reset and step an environment in one thread"
            )
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
        global _running
        if self.is_open:
            self._unload()
            _running = None


def _kart_state(kart: Any) -> KartState:
    """Return a kart's state, from pystk2."""
    # Copied, since the game changes its arrays in its next step.
    location = np.array(kart.location)
    ahead = (kart.front - location).tolist()
    w, x, y, z = kart.rotation.tolist()
    powerup = kart.powerup
    return KartState(
        location=location,
        velocity=np.array(kart.velocity),
        speed=kart.speed,
        heading=math.atan2(ahead[0], ahead[2]),
        on_road=kart.is_on_road,
        jumping=kart.jumping,
        finished=kart.has_finished_race,
        position=kart.position,
        energy=kart.energy,
        powerup=_name(powerup.type),
        skid=kart.skeed_factor,
        local_velocity=np.array(kart.velocity_lc),
        yaw_rate=float(kart.angular_velocity[1]),
        pitch=math.asin(_within(2 * (w * x - y * z))),
        roll=math.asin(_within(2 * (x * y + w * z))),
        powerups=powerup.num,
        attachment=_name(kart.attachment.type),
    )


def _name(member: Any) -> str:
    """The name of a member of one of the game's enumerations."""
    return _known_name((type(member), member))


@cache
def _known_name(member: tuple[Any, Any]) -> str:
    """The name, which is slow to ask for, of a member of an enumeration, which comes first since
    members of different ones may be equal."""
    return str(member[1].name)


def _within(part: float) -> float:
    """A sine or cosine that rounding may have taken beyond 1."""
    return min(max(part, -1.0), 1.0)


def _up(w: float, x: float, y: float, z: float) -> npt.NDArray[np.float64]:
    """The direction [3] that a rotation, a quaternion of length 1, makes of [0, 1, 0]."""
    return np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])


@atexit.register
def _leave() -> None:
    """A race that is still loaded when the interpreter ends crashes the process."""
    if _running is not None and _process == os.getpid():
        _running.close()
