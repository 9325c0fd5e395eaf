"""The catalogue and the patched view, on a made-up data folder."""

from pathlib import Path

import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.engine import catalogue, patched


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "game"
    for name, attributes in {
        "road": 'reverse="Y"',
        "oneway": 'reverse="N"',
        "flags": 'reverse="Y" ctf="Y"',
        "cage": 'arena="Y"',
        "pitch": 'soccer="Y"',
        "film": 'cutscene="Y" internal="Y"',
    }.items():
        track = folder / "data" / "tracks" / name
        track.mkdir(parents=True)
        (track / "track.xml").write_text(f"<track {attributes}/>")
        (track / "scene.xml").write_text("<scene/>")
    fading = folder / "data" / "tracks" / "road" / "scene.xml"
    fading.write_text('<billboard fadeout="true" start="1.00"/>')
    (folder / "data" / "karts" / "tux").mkdir(parents=True)
    (folder / "data" / "karts" / "tux" / "kart.xml").write_text("<kart/>")
    monkeypatch.setattr(catalogue, "ensure_data", lambda: folder)
    monkeypatch.setattr(patched, "cache_dir", lambda: tmp_path / "cache")
    return folder


def test_race_tracks_are_told_from_the_other_kinds(data: Path) -> None:
    assert catalogue.race_tracks() == {"road": True, "oneway": False, "flags": True}
    assert catalogue.kart_models() == ["tux"]


def test_what_is_installed_passes(data: Path) -> None:
    catalogue.check_installed(RaceConfig(track=("road", "oneway")))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (RaceConfig(track=("road", "cage")), "track = 'cage'.*one of flags, oneway, road"),
        (RaceConfig(track=("nowhere",)), "track = 'nowhere'"),
        (RaceConfig(track=("road",), kart="racoon"), "kart = 'racoon'.*one of tux"),
        (RaceConfig(track=("oneway",), direction="both"), "forward on the track oneway"),
    ],
)
def test_what_is_not_is_refused(data: Path, config: RaceConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        catalogue.check_installed(config)


def test_the_fake_game_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ensure_data", lambda: pytest.fail("looked for data"))
    catalogue.check_installed(RaceConfig(simulator="fake", track=("anything",)))


def test_the_patched_view_differs_in_the_one_scene(data: Path) -> None:
    view = patched.patched_data(data)
    tracks = view / "data" / "tracks"
    assert 'fadeout="false"' in (tracks / "road" / "scene.xml").read_text()
    assert 'fadeout="true"' in (data / "data" / "tracks" / "road" / "scene.xml").read_text()
    assert sorted(path.name for path in tracks.iterdir()) == sorted(
        path.name for path in (data / "data" / "tracks").iterdir()
    )
    assert (tracks / "road" / "track.xml").is_symlink()
    assert (tracks / "oneway").is_symlink()
    assert (view / "data" / "karts" / "tux" / "kart.xml").is_file()


def test_the_patched_view_is_made_once_and_is_its_own(data: Path, tmp_path: Path) -> None:
    view = patched.patched_data(data)
    made = (view / patched.MARKER).stat().st_mtime_ns
    assert patched.patched_data(data) == view
    assert patched.patched_data(view) == view
    assert (view / patched.MARKER).stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [view.name]


def test_another_process_may_be_first(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = patched.patched_data(data)
    build = patched._build

    def slow(source: Path, draft: Path) -> None:
        build(source, draft)
        hidden.rename(view)  # the other process, in the meantime

    hidden = view.rename(tmp_path / "hidden")
    monkeypatch.setattr(patched, "_build", slow)
    assert patched.patched_data(data) == view
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [view.name]
