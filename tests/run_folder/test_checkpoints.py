"""Checkpoints that are whole or not there, whatever happens to their files."""

import errno
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints

POLICY = {"params": {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
COLLECTOR = {
    "newest": [(np.arange(4, dtype=np.uint8), np.array([True, False]))],
    "envs": [
        {"stack": np.ones((2, 3), np.uint8), "track": "one", "big": 2**100, "none": None},
        None,
    ],
}
LEARNER = {"update": np.int32(7), "key": np.array([1, 2], np.uint32)}


def checkpoint(step: int) -> Checkpoint:
    progress = {"step": step, "name": "a", "list": [1, None, 0.5]}
    return Checkpoint(step, POLICY, LEARNER, progress, COLLECTOR)


def save(run_dir: Path, *steps: int, keep: int = 3) -> Path:
    saver = Checkpoints(run_dir, keep)
    for step in steps:
        saver.save(checkpoint(step))
    assert saver.close()
    return run_dir / "checkpoints"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run's folder with the checkpoints 10, 20 and 30."""
    run_dir = tmp_path_factory.mktemp("run")
    save(run_dir, 10, 20, 30)
    return run_dir


def largest_file(folder: Path) -> Path:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return max(files, key=lambda p: p.stat().st_size)


def flip_a_byte(folder: Path) -> None:
    path = next(p for p in sorted((folder / "policy").rglob("*")) if p.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_in_half(folder: Path) -> None:
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def lose_a_file(folder: Path) -> None:
    largest_file(folder).unlink()


def lose_the_digests(folder: Path) -> None:
    (folder / checkpoints.DIGESTS).unlink()


def spoil_the_digests(folder: Path) -> None:
    (folder / checkpoints.DIGESTS).write_text("{")


def test_what_was_saved_is_read_back(saved):
    path = checkpoints.latest(saved / "checkpoints")
    assert path.name == "30"
    policy = checkpoints.read_policy(path, POLICY)
    learner = checkpoints.read_learner(path, LEARNER)
    np.testing.assert_array_equal(policy["params"]["dense"]["kernel"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(learner["key"], [1, 2])
    assert learner["update"] == 7
    progress = checkpoints.read_progress(path)
    assert progress | {"step": 30, "name": "a", "list": [1, None, 0.5]} == progress
    collector = checkpoints.read_collector(path, progress)
    [(frames, first)] = collector["newest"]
    assert (frames.dtype, frames.tolist()) == (np.uint8, [0, 1, 2, 3])
    assert (first.dtype, first.tolist()) == (bool, [True, False])
    one, none = collector["envs"]
    np.testing.assert_array_equal(one.pop("stack"), COLLECTOR["envs"][0]["stack"])
    assert one == {"track": "one", "big": 2**100, "none": None}
    assert none is None


def test_environments_that_cannot_be_resumed_are_not_saved(tmp_path):
    saver = Checkpoints(tmp_path, 3)
    saver.save(Checkpoint(10, POLICY, LEARNER, {"step": 10}))
    assert saver.close()
    path = tmp_path / "checkpoints" / "10"
    assert not (path / "collector").exists()
    assert checkpoints.read_collector(path, checkpoints.read_progress(path)) is None


def test_environments_of_an_older_version_begin_anew(tmp_path, caplog):
    """Their arrays were within the JSON."""
    array = {"__array__": ["|u1", [2], "AAE="]}
    progress = {"collector": {"newest": [[array, array]], "envs": [None]}}
    assert checkpoints.read_collector(tmp_path, progress) is None
    assert f"{tmp_path} is of an older version: its environments start new episodes" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        cut_in_half,
        empty_the_folder,
        lose_a_file,
        lose_the_digests,
        spoil_the_digests,
    ],
)
def test_a_damaged_checkpoint_is_passed_over(saved, tmp_path, damage, caplog):
    run_dir = shutil.copytree(saved, tmp_path / "run")
    damage(run_dir / "checkpoints" / "30")
    assert checkpoints.latest(run_dir / "checkpoints").name == "20"
    assert "30 is incomplete or damaged: skipped" in caplog.text
    with pytest.raises(CheckpointError):
        checkpoints.find(run_dir / "checkpoints" / "30")
    damage(run_dir / "checkpoints" / "20")
    damage(run_dir / "checkpoints" / "10")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        checkpoints.latest(run_dir / "checkpoints")


def test_a_damaged_checkpoint_is_written_again(saved, tmp_path):
    run_dir = shutil.copytree(saved, tmp_path / "run")
    flip_a_byte(run_dir / "checkpoints" / "30")
    folder = save(run_dir, 30)
    assert checkpoints.latest(folder).name == "30"


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    saver = Checkpoints(tmp_path, keep=2)
    for step in (10, 20, 30, 40, 50):
        saver.save(checkpoint(step), {"progress": 0.5} if step == 20 else None)
    assert saver.close()
    assert checkpoints.steps(tmp_path / "checkpoints") == [20, 40, 50]
    assert checkpoints.find(tmp_path).name == "20"
    assert checkpoints.latest(tmp_path / "checkpoints").name == "50"


def damaged_ones(folder: Path, *steps: int) -> None:
    for step in steps:
        shutil.copytree(folder / "100", folder / str(step))
        flip_a_byte(folder / str(step))


@pytest.mark.parametrize(
    ("keep", "damaged", "left"),
    [(1, [200], [100, 120, 200]), (3, [101, 102, 130, 140, 150], [100, 120, 130, 140, 150])],
)
def test_damaged_checkpoints_do_not_push_out_whole_ones(tmp_path, keep, damaged, left):
    """A run that skipped damaged ones resumes from 100, the best, and saves 120."""
    saver = Checkpoints(tmp_path, keep)
    saver.save(checkpoint(100), {"progress": 0.5})
    assert saver.close()
    folder = tmp_path / "checkpoints"
    damaged_ones(folder, *damaged)
    save(tmp_path, 120, keep=keep)
    assert checkpoints.steps(folder) == left
    assert checkpoints.latest(folder).name == "120"


def test_damaged_checkpoints_are_replaced_or_go_once_the_run_gets_there(tmp_path):
    folder = save(tmp_path, 100)
    damaged_ones(folder, 130, 140)
    save(tmp_path, 120, 130, 150, keep=2)
    assert checkpoints.steps(folder) == [130, 150]
    assert all(checkpoints.is_whole(folder / str(step)) for step in (130, 150))


def test_a_saved_checkpoint_is_read_once(tmp_path, monkeypatch):
    """For its digests: neither a later save nor pruning reads it again."""
    read, real = [], checkpoints._digests
    monkeypatch.setattr(checkpoints, "_digests", lambda path: read.append(path.name) or real(path))
    folder = save(tmp_path, 10, 20, 20, 30, keep=2)
    assert read == ["10", "20", "30"]
    read.clear()
    save(tmp_path, 40)
    assert sorted(read) == ["20", "30", "40"]
    assert checkpoints.steps(folder) == [20, 30, 40]


def test_a_full_disk_is_reported_and_the_next_save_succeeds(tmp_path, monkeypatch, caplog):
    folder = save(tmp_path, 10)
    real = ocp.CheckpointManager.save

    def full(self, step, **arguments):
        real(self, step, **arguments)
        self.wait_until_finished()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    saver = Checkpoints(tmp_path, 3)
    with caplog.at_level(logging.WARNING):
        saver.save(checkpoint(20))
        assert not saver.wait()
    assert "No space left on device" in caplog.text
    assert "tries again" in caplog.text
    assert checkpoints.latest(folder).name == "10"
    monkeypatch.undo()
    saver.save(checkpoint(30))
    assert saver.close()
    assert checkpoints.latest(folder).name == "30"


def test_what_an_ended_save_left_behind_goes_with_the_next(tmp_path):
    (tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp" / "policy").mkdir(parents=True)
    folder = save(tmp_path, 20)
    assert [path.name for path in folder.iterdir()] == ["20"]


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="neither a run"):
        checkpoints.find(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        checkpoints.find(tmp_path)


def test_arrays_of_another_shape_are_refused(saved):
    path = checkpoints.latest(saved / "checkpoints")
    other = {"params": {"dense": {"kernel": np.zeros((4, 4), np.float32)}}}
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoints.read_policy(path, other)


def test_the_digests_name_every_file(saved):
    folder = saved / "checkpoints" / "30"
    digests = json.loads((folder / checkpoints.DIGESTS).read_text())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(digests) == files - {checkpoints.DIGESTS}
