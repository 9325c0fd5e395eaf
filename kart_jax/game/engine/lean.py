"""Where the lean versions of tracks and karts are kept: a view of the game's data in the cache.

It links to the original. Its own are grass that stands still, karts, which are simplified when the
view is made, and tracks, each of which is made when it is first raced on.
"""

import hashlib
import os
from pathlib import Path

from kart_jax.game.engine import fetch
from kart_jax.game.engine.data import cache_dir, make_once
from kart_jax.game.engine.placed import BOUNDS, link_all

KART = 0.05
"""Metres that a point of a kart may be off: a pixel of a frame of 64 x 48."""
WIND, STILL = "test * i_color.r", "vec3(0.0, 0.7, 0.7) * i_color.r"
"""How the game's shaders of grass move it, by the clock on the wall, and how they do not."""
_RECIPE = ("lean", "driveline", "placed", "scenery", "simplify", "spm")
"""The modules on which the result depends, beside the original."""


def lean_data(data: Path) -> Path:
    """Return the folder for SUPERTUXKART_DATADIR instead of `data`; it is made once.

    Any number of processes may call this at once.

    Raises:
        DataError: the view can't be made or written to the cache.
    """
    view = _view(data)
    if not view.exists():
        make_once(view, f"the lean karts, in {view}", lambda draft: _build(data, draft))
    return view


def ensure_track(data: Path, track: str) -> None:
    """Put the lean version of a track into the view that `lean_data(data)` returned.

    Any number of processes may call this at once.

    Raises:
        DataError: it can't be made or written to the cache.
    """
    view = _view(data)
    built, link = view / "built" / track, view / "data" / "tracks" / track
    if not built.exists():
        from kart_jax.game.engine import scenery  # with SciPy, which takes memory

        original = data / "data" / "tracks" / track
        make_once(
            built,
            f"the lean version of the track {track}",
            lambda draft: scenery.build_track(original, data / "data", draft, link),
        )
    if not (link / BOUNDS).exists():
        fresh = link.with_name(f".{track}-{os.getpid()}")
        fresh.symlink_to(built)
        fresh.replace(link)


def _view(data: Path) -> Path:
    recipe = hashlib.sha256(str(data.resolve()).encode())
    for module in _RECIPE:
        recipe.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return cache_dir() / f"lean-{fetch.VERSION}-{recipe.hexdigest()[:12]}"


def _build(data: Path, draft: Path) -> None:
    from kart_jax.game.engine import scenery

    (draft / "built").mkdir()
    karts, tracks = draft / "data" / "karts", draft / "data" / "tracks"
    for folder in sorted((data / "data" / "karts").iterdir()):
        if (folder / "kart.xml").exists():
            (karts / folder.name).mkdir(parents=True)
            scenery.build_models(folder, karts / folder.name, KART)
    tracks.mkdir(parents=True)
    shaders = draft / "data" / "shaders"
    shaders.mkdir()
    for path in (data / "data" / "shaders").glob("sp_grass*.vert"):
        text = path.read_text(errors="surrogateescape").replace(WIND, STILL)
        (shaders / path.name).write_text(text, errors="surrogateescape")
    for name in ("karts", "tracks", "shaders"):
        link_all(data / "data" / name, draft / "data" / name)
    link_all(data / "data", draft / "data")
