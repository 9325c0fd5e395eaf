import os
from pathlib import Path

import numpy as np
import pytest

from kart_jax.imitation.demonstrations import Demonstration
from kart_jax.imitation.rounds import Rounds


def shown(first: int, length: int, guided: bool) -> Demonstration:
    return Demonstration(
        seen={
            "frames": np.full((length, 4, 6, 1), first, np.uint8),
            "state": np.full((length, 5), first, np.float32),
        },
        targets=np.arange(2 * length, dtype=np.float32).reshape(length, 2),
        rewards=np.arange(length, dtype=np.float32) + first,
        summary={"finished": guided, "progress_m": 1.5, "finish_time": float("nan")},
        guided=guided,
    )


def snapshot(name: str) -> dict[str, np.ndarray]:
    return {"random": np.array(name), "0/params/kernel": np.arange(6.0, dtype=np.float32)}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], strict=True)


def test_rounds_come_back_in_order(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path / "imitation")
    assert rounds.load() is None
    episodes = [shown(1, 3, True), shown(2, 2, False), shown(3, 4, False)]
    rounds.save(1, episodes[:2], snapshot("one"))
    rounds.save(2, episodes[2:], snapshot("two"))
    kept = Rounds(tmp_path / "imitation").load()
    assert kept is not None
    number, found, learnt = kept
    assert number == 2
    assert_same(learnt, snapshot("two"))
    for one, other in zip(found, episodes, strict=True):
        assert_same(dict(one.seen), dict(other.seen))
        for name in ("targets", "rewards"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
        assert one.guided is other.guided
        assert one.summary["finished"] == other.summary["finished"]
    rounds.clear()
    assert not (tmp_path / "imitation").exists()


def test_a_round_that_was_not_learnt_from_is_no_round(tmp_path: Path) -> None:
    """As after a kill between its two files."""
    rounds = Rounds(tmp_path)
    rounds.save(1, [shown(1, 3, True)], snapshot("one"))
    learnt = (tmp_path / "learnt.npz").read_bytes()
    rounds.save(2, [shown(2, 3, False)], snapshot("two"))
    (tmp_path / "learnt.npz").write_bytes(learnt)
    kept = rounds.load()
    assert kept is not None
    assert (kept[0], len(kept[1])) == (1, 1)
    assert_same(kept[2], snapshot("one"))


@pytest.mark.parametrize("damaged", ["learnt.npz", "round_01.npz"])
def test_what_is_damaged_is_told_and_begun_again(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds(tmp_path)
    rounds.save(1, [shown(1, 3, True)], snapshot("one"))
    os.truncate(tmp_path / damaged, 100)
    assert rounds.load() is None
    assert "imitation begins again" in caplog.text


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds(tmp_path)
    rounds.save(1, [shown(1, 3, True)], snapshot("one"))
    savez = np.savez

    def full(path: Path, **arrays: np.ndarray) -> None:
        savez(path, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    rounds.save(2, [shown(2, 3, False)], snapshot("two"))
    assert "round 2 cannot be saved" in caplog.text
    assert not list(tmp_path.glob("*.partial*"))
    monkeypatch.undo()
    kept = Rounds(tmp_path).load()
    assert kept is not None
    assert (kept[0], len(kept[1])) == (1, 1)
    assert_same(kept[2], snapshot("one"))
    rounds.save(3, [shown(3, 4, False)], snapshot("three"))
    again = Rounds(tmp_path)
    kept = again.load()
    assert kept is not None
    assert kept[0] == 3
    assert_same(kept[2], snapshot("three"))
    assert [len(one.rewards) for one in kept[1]] == [3, 3, 4]
    again.save(4, [shown(4, 2, False)], snapshot("four"))
    kept = Rounds(tmp_path).load()
    assert kept is not None
    assert [len(one.rewards) for one in kept[1]] == [3, 3, 4, 2]


def test_a_missing_round_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds(tmp_path)
    rounds.save(1, [shown(1, 3, True)], snapshot("one"))
    (tmp_path / "round_01.npz").unlink()
    assert rounds.load() is None
    assert "round_01.npz" in caplog.text


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    Rounds(tmp_path / "file" / "imitation").save(1, [shown(1, 3, True)], snapshot("one"))
    assert "round 1 cannot be saved" in caplog.text
