"""Tracks without scenery: what stays in the files; that races stay the same needs the real game."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kart_jax.game.engine import unseen

TREE = '<scene><lod/><object id="t" type="animation" interaction="ghost"/></scene>'
LAMP = """<scene><light/><object type="animation" interaction="ghost"/>
<object type="animation" interaction="physicsonly" shape="box"/></scene>"""
WOOD = '<scene><library name="tree"/></scene>'
TRACK = """<scene><track model="track.spm"/>
<library name="tree" id="a"/><library name="wood" id="b"/><library name="lamp" id="c"/>
<library name="tree" id="asked for"/>
<object type="billboard"/><object type="movable" id="d"/><particle-emitter/>
<object type="animation" interaction="ghost" id="e"/>
<object type="animation" interaction="ghost" id="opened"/>
<object type="animation" interaction="ghost" id="f" if="hard()"/>
<object type="animation" interaction="static" id="g"/></scene>"""
SCRIPT = 'void onStart() { Track::getTrackObject("opened"); Track::getTrackObject("asked for"); }'


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A view of a small track's data."""
    files = {
        "library/tree/node.xml": TREE,
        "library/lamp/node.xml": LAMP,
        "library/wood/node.xml": WOOD,
        "library/lamp/lamp.spm": "mesh",
        "tracks/small/scene.xml": TRACK,
        "tracks/small/scripting.as": SCRIPT,
        "tracks/small/quads.xml": "<quads/>",
        "karts/tux/kart.xml": "<kart/>",
    }
    for name, text in files.items():
        path = tmp_path / "game" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return unseen.unseen_data(tmp_path / "game") / "data"


def kept(path: Path) -> list[str]:
    """What is left of a scene: ids where there are any, or else tags."""
    return [one.get("id", one.tag) for one in ElementTree.parse(path).getroot()]


def test_what_has_a_body_or_a_part_in_a_script_stays_in_its_order(view: Path) -> None:
    left = kept(view / "tracks" / "small" / "scene.xml")
    assert left == ["track", "c", "asked for", "d", "opened", "f", "g"]
    assert kept(view / "library" / "lamp" / "node.xml") == ["object"]


def test_all_other_files_are_there(view: Path) -> None:
    for name in ("tracks/small/quads.xml", "library/lamp/lamp.spm", "karts/tux/kart.xml"):
        assert (view / name).read_text()


def test_it_is_made_once(view: Path, tmp_path: Path) -> None:
    scene = view / "tracks" / "small" / "scene.xml"
    before = scene.stat().st_mtime_ns
    assert unseen.unseen_data(tmp_path / "game") / "data" == view
    assert scene.stat().st_mtime_ns == before
