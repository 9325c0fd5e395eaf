"""A view of the game's data without what crashes pystk2: links to the original, and one edit.

Billboards that fade when the camera is close (in the track mines) ask for the active
camera, and pystk2 0.7.4 has none between frames: the first step ends the process.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from kart_jax.game.engine import fetch
from kart_jax.game.engine.data import cache_dir
from kart_jax.game.errors import DataError

MARKER = "patched-by-kart_jax"
FADING, STEADY = 'fadeout="true"', 'fadeout="false"'


def patched_data(data: Path) -> Path:
    """Return the folder for SUPERTUXKART_DATADIR instead of `data`; it is made once.

    Any number of processes may call this at once.

    Raises:
        DataError: the view can't be written to the cache.
    """
    if (data / MARKER).exists():
        return data
    key = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    target = cache_dir() / f"patched-{fetch.VERSION}-{key}"
    if (target / MARKER).exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}-"))
        _build(data.resolve(), draft)
        try:
            draft.rename(target)
        except OSError:  # Another process was first.
            shutil.rmtree(draft)
    except OSError as error:
        raise DataError(
            f"{target.parent} cannot be written ({error}): set XDG_CACHE_HOME to a folder that can"
        ) from None
    return target


def _build(data: Path, draft: Path) -> None:
    """Link all of `data/`, but copy and edit the scenes that need it."""
    scenes = [
        scene
        for scene in sorted(data.glob("data/tracks/*/scene.xml"))
        if FADING in scene.read_text(errors="surrogateescape")
    ]
    for scene in scenes:
        copy = draft / scene.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = scene.read_text(errors="surrogateescape")
        copy.write_text(text.replace(FADING, STEADY), errors="surrogateescape")
    for folder in (scene.parent for scene in scenes):
        _link_all(folder, draft / folder.relative_to(data))
    (draft / "data" / "tracks").mkdir(parents=True, exist_ok=True)
    _link_all(data / "data" / "tracks", draft / "data" / "tracks")
    _link_all(data / "data", draft / "data")
    (draft / MARKER).write_text(f"links to {data}\n")


def _link_all(source: Path, target: Path) -> None:
    for entry in os.scandir(source):
        if not os.path.lexists(target / entry.name):
            (target / entry.name).symlink_to(entry.path)
