"""Runs of version 0.1.0 still load and resume.

The fixture is a run of one update of the fake game, made with the commit that its `run.json` names
and the command there; only the folders of its machine were taken out of it.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kart_jax import train
from kart_jax.config import load
from kart_jax.run_folder.loading import load_policy

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_0_1_0"


def steps(run_dir: Path) -> list[int]:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_its_policy_loads() -> None:
    policy = load_policy(FIXTURE)
    frames = np.zeros((2, *policy.spec.observation_shape), np.uint8)
    assert policy.act(frames).shape == (2, 2)


def test_it_resumes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(FIXTURE, run_dir)
    assert load(run_dir / "config.json").run.preset == "reference"
    assert steps(run_dir) == [16]
    assert train.main(["--resume", "--run-dir", str(run_dir), "--total-steps", "32"]) == 0
    assert "its environments start new episodes" in caplog.text
    assert steps(run_dir) == [16, 32]
    before, after = load_policy(FIXTURE).variables, load_policy(run_dir).variables
    kernels = [v["params"]["stem"]["conv"]["kernel"] for v in (before, after)]
    assert 0 < np.abs(kernels[1] - kernels[0]).max() < 0.01
