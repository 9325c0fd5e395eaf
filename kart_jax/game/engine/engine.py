"""The game in this process: started once, and what no race may change from then on.

Only here is pystk2 imported.
"""

import atexit
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Protocol

from kart_jax.game.config import RaceConfig, Scenery
from kart_jax.game.engine.data import VARIABLE, ensure_data
from kart_jax.game.engine.heap import large_blocks_apart
from kart_jax.game.engine.lean import lean_data
from kart_jax.game.engine.patched import patched_data
from kart_jax.game.engine.rendering import check_graphics, prepare_environment
from kart_jax.game.engine.unseen import unseen_data
from kart_jax.game.errors import RaceInUseError

Drawing = tuple[int, int, bool, Scenery]
"""Width, height, window and scenery of what is drawn."""


class _Closable(Protocol):
    def close(self) -> None: ...


class Engine:
    """The game, which this process started."""

    def __init__(self, drawing: Drawing | None, driver: str) -> None:
        """Import and initialise the game, which then draws at one size until the process ends.

        Args:
            drawing: what is drawn; None: nothing.
            driver: who drives in all races of this process.

        Raises:
            DataError: the game's data is missing or of another version.
            GraphicsError: this machine cannot draw.
        """
        self._drawing, self._driver = drawing, driver
        self.data = patched_data(ensure_data())
        """The game's data, of which this process may use a view."""
        view = self.data
        if drawing is None:
            view = unseen_data(self.data)
        elif drawing[3] == "lean":
            view = lean_data(self.data)
        self.pystk2 = _initialise(drawing, view)
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._undrawn_track: str | None = None
        self.race: _Closable | None = None
        """The open race of this process: the newest."""

    def check(self, drawing: Drawing | None, driver: str) -> None:
        """Refuse a race that this process cannot have.

        Raises:
            RaceInUseError: says what this process cannot change, and what to do.
        """
        if not self._is_of_this_process():
            raise RaceInUseError(
                "this process was forked from one that had started the game, which would hang: "
                'start processes by multiprocessing.get_context("spawn")'
            )
        if self.race is not None and not self._is_of_this_thread():
            raise RaceInUseError(
                "another thread of this process has a race: close it there, or start a process"
            )
        if driver != self._driver:
            # The game (pystk2 0.7.4) corrupts its memory now and then when the driver changes.
            raise RaceInUseError(
                f"this process has had driver = {self._driver!r} and cannot change to "
                f"{driver!r}: use another process for another driver"
            )
        if drawing != self._drawing:
            raise RaceInUseError(
                f"this process draws (width, height, window, scenery) = {self._drawing} and "
                f"cannot change to {drawing}: use another process for another size or scenery "
                "(None: nothing is drawn)"
            )

    def keep_track(self, track: str) -> None:
        """Refuse another track where nothing is drawn: the game (pystk2 0.7.4) may crash then.

        Raises:
            RaceInUseError: this process does not draw, and has raced on another track.
        """
        if self._drawing is not None:
            return
        if self._undrawn_track not in (None, track):
            raise RaceInUseError(
                f"this process races without drawing, and so keeps its track "
                f"{self._undrawn_track!r}: use another process for {track!r}"
            )
        self._undrawn_track = track

    def check_thread(self) -> None:
        """Refuse to draw in another thread than the one that started the game.

        Raises:
            RaceInUseError: says what to do.
        """
        if not self._is_of_this_thread():
            raise RaceInUseError(
                "another thread started the game, and frames drawn in this one would be black: "
                "make, reset and step an environment in one thread"
            )

    def open(self, race: _Closable) -> None:
        """Make `race` the open one, and close the one before."""
        self.close()
        self.race = race

    def close(self) -> None:
        """Close the open race, if there is one; not that of the process that forked this one."""
        if self.race is not None and self._is_of_this_process():
            self.race.close()

    def _is_of_this_process(self) -> bool:
        return self._process == os.getpid()

    def _is_of_this_thread(self) -> bool:
        return self._thread == threading.get_ident()


_engine: Engine | None = None


def start_engine(config: RaceConfig, window: bool) -> Engine:
    """Return the game of this process, which is started with the first race.

    Raises:
        RaceInUseError: this process draws at another size or not at all, has had another
            driver, or has a race in another thread.
        DataError: the game's data is missing or of another version.
        GraphicsError: this machine cannot draw.
    """
    global _engine
    drawing = (config.width, config.height, window, config.scenery) if config.draws else None
    if _engine is None:
        _engine = Engine(drawing, config.driver)
    else:
        _engine.check(drawing, config.driver)
    return _engine


@atexit.register
def _leave() -> None:
    """A race that is still loaded when the interpreter ends crashes the process."""
    if _engine is not None:
        _engine.close()


def _initialise(drawing: Drawing | None, data: Path) -> ModuleType:
    """Import pystk2 and let it start the game on a folder of data."""
    prepare_environment()
    if drawing is not None:
        check_graphics(window=drawing[2])
    import pystk2

    if drawing is None:
        graphics = pystk2.GraphicsConfig.none()
    else:
        graphics = pystk2.GraphicsConfig.ld()
        graphics.screen_width, graphics.screen_height, graphics.display = drawing[:3]
    pystk2.set_log_level(int(pystk2.LogLevel.fatal))
    with _printing_to_stderr(), large_blocks_apart(), _variable(VARIABLE, str(data)):
        pystk2.init(graphics)
    return pystk2


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
