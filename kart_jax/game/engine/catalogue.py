"""What the installed data offers: tracks and karts, read from files, without the game."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from kart_jax.game.config import RaceConfig
from kart_jax.game.engine.data import ensure_data
from kart_jax.validation import check, check_choice

_NO_RACE = ("arena", "soccer", "cutscene", "internal")


def race_tracks() -> dict[str, bool]:
    """Return names of tracks to race on, and whether each can be raced in reverse.

    Raises:
        DataError: the game's data is missing or of another version.
    """
    return _race_tracks(ensure_data())


def expand_tracks(tracks: Sequence[str]) -> tuple[str, ...]:
    """Return the tracks that a command line names; `all` alone stands for all race tracks.

    Raises:
        DataError: the game's data is missing or of another version.
    """
    return tuple(sorted(race_tracks())) if tuple(tracks) == ("all",) else tuple(tracks)


def kart_models() -> list[str]:
    """Return the names of the kart models.

    Raises:
        DataError: the game's data is missing or of another version.
    """
    return _kart_models(ensure_data())


def check_installed(config: RaceConfig) -> None:
    """Refuse tracks and karts that the installed data does not have; starts nothing.

    The fake game has no data: nothing is refused there.

    Raises:
        ValueError: names the field, the value and what there is.
        DataError: the game's data is missing or of another version.
    """
    if config.simulator == "fake":
        return
    for track in config.track:
        check_track(track, config.direction != "forward")
    check_choice("kart", config.kart, kart_models())


def check_track(track: str, reverse: bool) -> None:
    """Refuse a track that is unknown, no race track, or not to be driven in reverse.

    Raises:
        ValueError: names the track and what there is.
    """
    tracks = race_tracks()
    check_choice("track", track, tracks)
    check(tracks[track] or not reverse, "direction", "reverse", f"forward on the track {track}")


@cache
def _race_tracks(data: Path) -> dict[str, bool]:
    tracks = {}
    for path in sorted(data.glob("data/tracks/*/track.xml")):
        track = ElementTree.parse(path).getroot()
        if not any(track.get(kind, "N").upper() == "Y" for kind in _NO_RACE):
            tracks[path.parent.name] = track.get("reverse", "N").upper() == "Y"
    return tracks


@cache
def _kart_models(data: Path) -> list[str]:
    return sorted(path.parent.name for path in data.glob("data/karts/*/kart.xml"))
