"""A run tells what it was made with, each time that it begins or goes on."""

import json
import subprocess
from pathlib import Path

import jax
import pytest

from kart_jax import __version__
from kart_jax.run_folder.provenance import git_state, record_start
from tests.helpers.disk import full_disk


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_every_start_is_told(tmp_path: Path) -> None:
    record_start(tmp_path, 0)
    record_start(tmp_path, 500)
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 500]
    for start in starts:
        assert start["kart_jax"] == __version__
        assert start["packages"]["jax"] == jax.__version__
        assert start["game"].startswith("SuperTuxKart 1.")
        assert start["devices"]["count"] == jax.device_count()
        assert start["command"].startswith("python")


def test_a_file_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"starts": [')
    record_start(tmp_path, 500)
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 1


def test_a_full_disk_loses_no_start(tmp_path: Path) -> None:
    record_start(tmp_path, 0)
    before = (tmp_path / "run.json").read_text()
    with full_disk(), pytest.raises(OSError, match="File too large"):
        record_start(tmp_path, 500)
    assert (tmp_path / "run.json").read_text() == before


def test_a_clone_tells_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert git_state(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "changed": False}
    (tmp_path / "file").write_text("two")
    state = git_state(tmp_path)
    assert state is not None
    assert state["changed"]
    (tmp_path / "inside").mkdir()
    assert git_state(tmp_path / "inside") is None
