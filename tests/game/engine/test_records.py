"""World records of people, read from replays."""

from pathlib import Path

import pytest

from kart_jax.game.engine.catalogue import race_tracks
from kart_jax.game.engine.records import read_replay, world_record
from kart_jax.game.errors import DataError

HEADER = """version: 4
stk_version: 1.5
kart: puffy somebody
kart_list_end
reverse: 0
difficulty: 3
track: lighthouse
info: A Record
laps: 2
min_time: 30.000000
size: {size}
"""


def write(path: Path, header: str = HEADER, rows: int = 32) -> Path:
    """A drive of 10 m/s along x, from 20 m before the line, with 140 m to a lap."""
    lines = []
    for number in range(rows):
        row = ["0"] * 26
        row[0], row[1], row[3], row[8] = str(number), str(10 * number), "5", "10"
        row[20] = str(10 * number - 20)
        lines.append(" ".join(row))
    path.write_text(header.format(size=rows) + "\n".join(lines) + "\n")
    return path


def test_a_replay_tells_the_time_of_its_first_laps(tmp_path: Path) -> None:
    record = read_replay(write(tmp_path / "wr.replay"))
    assert (record.track, record.difficulty, record.laps) == ("lighthouse", 3, 2)
    assert record.about == "puffy somebody, A Record"
    assert record.lap_length == pytest.approx(140.0)
    assert record.seconds_of(1) == pytest.approx(16.0)
    assert record.seconds_of(2) == 30.0
    assert record.seconds_of(3) is None
    assert record.path(1.25, 0.5) == [[0, 5, 10], [5, 5, 10], [10, 5, 10], [12.5, 5, 10]]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER.replace("version: 4", "version: 3", 1), 32, "version 3, not 4"),
        (HEADER.replace("laps: 2\n", ""), 32, "'laps'"),
        (HEADER, 30, "before the finish"),
        (HEADER, 0, "before the finish"),
    ],
)
def test_a_damaged_replay_is_refused(tmp_path: Path, header: str, rows: int, message: str) -> None:
    path = write(tmp_path / "wr.replay", header, rows)
    with pytest.raises(DataError, match=message):
        read_replay(path)


@pytest.mark.real_game
def test_there_is_a_record_for_every_track() -> None:
    """In the data; 10 to 70 s a lap."""
    for track in race_tracks():
        record = world_record(track)
        assert record is not None
        assert record.difficulty == 3
        assert 10.0 < (record.seconds_of(1) or 0.0) < 70.0
    assert world_record("nowhere") is None
