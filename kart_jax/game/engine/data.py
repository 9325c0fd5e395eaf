"""The game's data, about 760 MB of tracks, karts and textures: find it, or fetch it once.

The engine inside pystk2 reads data of exactly its own version from the folder that the
environment variable SUPERTUXKART_DATADIR names.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from platformdirs import user_cache_path

from kart_jax.game.engine import fetch
from kart_jax.game.errors import DataError

VARIABLE = "SUPERTUXKART_DATADIR"
"""The environment variable that names the folder with the game's `data/`."""

DISK_SPACE = 2 * 10**9
"""Bytes free that fetching asks for: the package and, beside it, what it unpacks to."""

PARTS = (
    *("challenges", "gfx", "grandprix", "gui", "karts", "library", "models", "music", "po"),
    *("sfx", "shaders", "skins", "textures", "tracks", "ttf", "achievements.xml", "items.xml"),
    *("kart_characteristics.xml", "powerup.xml", "stk_config.xml"),
)
"""Folders and files without which the engine ends the process."""


def cache_dir() -> Path:
    """Return the folder of fetched data; follows XDG_CACHE_HOME."""
    return user_cache_path("kart_jax")


def profile_dir() -> Path:
    """Return the folder, which exists, for what the game writes: players, highscores, a log."""
    folder = cache_dir() / "profile"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:  # nor can the folder be made
        pass
    folder = Path(tempfile.gettempdir()) / f"kart_jax-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # Whoever else made it could put there what the game reads, or watch what it writes.
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
        folder.chmod(0o700)
        return folder
    own = Path(tempfile.mkdtemp(prefix="kart_jax-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def find_problem(folder: Path) -> str | None:
    """Return why the engine could not read its data from `folder`, or None if it can."""
    data = folder / "data"
    if not (data / f"supertuxkart.{fetch.VERSION}").is_file():
        if (folder / f"supertuxkart.{fetch.VERSION}").is_file():
            return f"{folder} is the data itself: name the folder above it, {folder.parent}"
        others = ", ".join(sorted(path.name for path in data.glob("supertuxkart.[0-9]*")))
        held = f" (it is of another version: {others})" if others else ""
        return f"{data} does not hold the file supertuxkart.{fetch.VERSION}{held}"
    for part in PARTS:
        if not (data / part).exists():
            return f"{data} is incomplete: {part} is missing"
    for font in sorted((data / "ttf").iterdir()):
        if not font.exists():
            return f"{font} links to {os.readlink(font)}, which is missing: install that font"
    return None


def find_data() -> Path | None:
    """Return the folder to name in SUPERTUXKART_DATADIR, or None if there is no data yet.

    Looks where the variable points, then in our cache, then in that of pystk2.

    Raises:
        DataError: the variable is set, but the engine cannot read what is there.
    """
    if named := os.environ.get(VARIABLE):
        folder = Path(named).expanduser()
        if problem := find_problem(folder):
            raise DataError(f"{VARIABLE}={named} is of no use: {problem}. Correct it or unset it.")
        return folder
    for folder in (cached_data(), pystk2_data()):
        if folder.is_dir() and find_problem(folder) is None:
            return folder
    return None


def cached_data() -> Path:
    """Return where our own copy of the data stands once it is fetched."""
    return cache_dir() / f"supertuxkart-{fetch.VERSION}"


def pystk2_data() -> Path:
    """Return where pystk2 keeps the data that it downloads by itself."""
    return user_cache_path("PySuperTuxKart2", "bpiwowar") / fetch.VERSION


def ensure_data() -> Path:
    """Return the folder to name in SUPERTUXKART_DATADIR, fetching the data if need be.

    Any number of processes may call this at once: one fetches, the others wait for it.

    Raises:
        DataError: there is no data and it cannot be fetched; says what was tried.
    """
    if found := find_data():
        return found
    cache = cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "data.lock", "the game's data"):
            return find_data() or _fetch(cache)
    except OSError as error:
        raise DataError(
            f"The game's data cannot be written to {cache}: {error}. {_advice()}"
        ) from None


def _fetch(cache: Path) -> Path:
    """Try each way to fetch the data; the caller holds the lock."""
    free = shutil.disk_usage(cache).free
    if free < DISK_SPACE:
        raise DataError(
            f"Fetching the game's data takes {DISK_SPACE / 1e9:.0f} GB in {cache}, where "
            f"{free / 1e9:.1f} GB are free. Make room, or choose another disk with "
            f"XDG_CACHE_HOME. {_advice()}"
        )
    ways: list[tuple[str, Callable[[], None]]] = [
        ("Debian's or Ubuntu's package", lambda: fetch.with_apt(cached_data())),
        ("pystk2's download", lambda: fetch.with_pystk2(pystk2_data())),
    ]
    failures = []
    for name, way in ways:
        print(
            f"Fetching SuperTuxKart {fetch.VERSION}'s data (tracks, karts, textures), once, "
            f"to {cache}: {name} ...",
            file=sys.stderr,
            flush=True,
        )
        try:
            way()
        except fetch.FetchError as error:
            failures.append(f"  {name}: {error}")
        else:
            if found := find_data():
                return found
            failures.append(f"  {name}: what came is not complete")
    tried = "\n".join(failures)
    raise DataError(f"The game's data could not be fetched. Tried:\n{tried}\n{_advice()}")


def _advice() -> str:
    return (
        f"To use a copy, set {VARIABLE} to a folder that holds data/supertuxkart.{fetch.VERSION}, "
        f"such as {cached_data()} of a machine that has it."
    )


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock at `path` to make `what`; the system frees it when its holder dies."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for the process that is fetching or making {what} ...", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(target: Path, what: str, build: Callable[[Path], None]) -> None:
    """Let one process build a folder, which appears in one step; the others wait.

    Raises:
        DataError: it cannot be written to the cache.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock"), what):
            if target.exists():
                return
            print(f"Making {what} ...", end=" ", file=sys.stderr, flush=True)
            start = time.monotonic()
            draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
            try:
                build(draft)
                draft.chmod(0o755)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    except OSError as error:
        raise DataError(
            f"{target.parent} cannot be written ({error}): set XDG_CACHE_HOME to a folder that can"
        ) from None
