"""Loading a policy, also from a run that trains meanwhile."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax.policy.policy import PolicySpec
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.run_folder.loading import find_folder, load_policy
from tests.helpers.tiny import ACTIONS, NETWORK

SPEC = PolicySpec(NETWORK, ACTIONS, (3, 12, 16, 1))


def save(run_dir: Path, step: int) -> None:
    """Save a checkpoint whose parameters are all `step`; keep no other."""
    variables = jax.tree.map(lambda x: np.full(x.shape, step, x.dtype), SPEC.template())
    progress = {"step": step, "policy": SPEC.to_dict(), "config": {"race": {}}}
    saver = Checkpoints(run_dir, keep=1)
    saver.save(Checkpoint(step, variables, {"update": np.int32(step)}, progress))
    assert saver.close()


@pytest.mark.parametrize("read", ["is_whole", "read_progress", "read_policy"])
def test_a_checkpoint_that_is_deleted_while_it_is_read_gives_way_to_the_next(
    read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with `--keep 1`, at each moment of reading."""
    save(tmp_path, 10)
    function: Callable[..., Any] = getattr(checkpoints, read)

    def train_first(*arguments: Any) -> Any:
        monkeypatch.setattr(checkpoints, read, function)
        save(tmp_path, 20)
        return function(*arguments)

    monkeypatch.setattr(checkpoints, read, train_first)
    policy = load_policy(tmp_path)
    assert {float(x.max()) for x in jax.tree.leaves(policy.variables)} == {20.0}
    assert not caplog.text


def test_a_damaged_run_is_refused_all_the_same(tmp_path: Path) -> None:
    save(tmp_path, 10)
    shutil.rmtree(tmp_path / "checkpoints/10/policy")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        load_policy(tmp_path)


def test_a_policy_in_the_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert find_folder("~/mine") == tmp_path / "mine"
