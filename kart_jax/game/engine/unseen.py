"""A view of the game's data for races that are not drawn: tracks without what can only be seen.

The game updates each tree, lamp and flag in each tick of its physics, drawn or not: in the track
black_forest, with 1,500 of them, that takes longer than the race itself.
"""

import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from kart_jax.game.engine import fetch
from kart_jax.game.engine.data import cache_dir, make_once
from kart_jax.game.engine.placed import link_all

Element = ElementTree.Element

SHOWN = ("light", "particle-emitter")
"""Elements of a scene that only show."""
SCENE, NODE, SCRIPT = "scene.xml", "node.xml", "scripting.as"


def unseen_data(data: Path) -> Path:
    """Return the folder for SUPERTUXKART_DATADIR instead of `data`; it is made once.

    Any number of processes may call this at once.

    Raises:
        DataError: the view can't be made or written to the cache.
    """
    recipe = hashlib.sha256(str(data.resolve()).encode())
    recipe.update(Path(__file__).read_bytes())
    view = cache_dir() / f"unseen-{fetch.VERSION}-{recipe.hexdigest()[:12]}"
    if not view.exists():
        make_once(view, "the tracks without scenery", lambda draft: _build(data / "data", draft))
    return view


def _build(data: Path, draft: Path) -> None:
    """Write the tracks and the library's objects without what only shows, and link the rest."""
    scripts = "".join(_script(folder) for folder in sorted((data / "tracks").iterdir()))
    empty: set[str] = set()
    """Libraries of which nothing is left."""
    libraries = sorted(path.parent for path in (data / "library").glob(f"*/{NODE}"))
    for _ in range(2):  # libraries may consist of others
        for folder in libraries:
            _thin(folder / NODE, scripts + _script(folder), empty, draft / "data")
    for scene in sorted((data / "tracks").glob(f"*/{SCENE}")):
        _thin(scene, _script(scene.parent), empty - _own_libraries(scene.parent), draft / "data")
    for parent in ("library", "tracks"):
        for folder in (draft / "data" / parent).iterdir():
            link_all(data / parent / folder.name, folder)
        link_all(data / parent, draft / "data" / parent)
    link_all(data, draft / "data")


def _script(folder: Path) -> str:
    script = folder / SCRIPT
    return script.read_text(errors="replace") if script.exists() else ""


def _own_libraries(track: Path) -> set[str]:
    """The names of libraries that a track has its own version of."""
    own = track / "library"
    return {folder.name for folder in own.iterdir()} if own.is_dir() else set()


def _thin(path: Path, script: str, empty: set[str], target: Path) -> None:
    """Write a scene without what only shows; note in `empty` a library of which nothing is left."""
    root = ElementTree.parse(path).getroot()
    for one in list(root):
        if _only_shows(one, script, empty):
            root.remove(one)
    if path.name == NODE and all(one.tag in ("lod", "materials") for one in root):
        empty.add(path.parent.name)
    copy = target / path.parent.parent.name / path.parent.name / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(copy, encoding="utf-8", xml_declaration=True)


def _only_shows(one: Element, script: str, empty: set[str]) -> bool:
    """Whether a race without an element of the scene is the same, but for its picture."""
    name = one.get("id")
    if one.get("if") or (name and f'"{name}"' in script):
        return False
    if one.tag == "library":
        return one.get("name") in empty
    if one.tag == "object":
        bodiless = one.get("interaction") in ("ghost", "none")
        kind = one.get("type", "static")
        return kind == "billboard" or (bodiless and kind in ("static", "animation"))
    return one.tag in SHOWN
