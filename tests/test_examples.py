"""The examples run as their first lines say."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from examples import drive
from examples.own_reward import make
from kart_jax.game import RaceConfig, make_env
from tests.helpers.tiny import RACE, write_tiny_policy

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = (
    "--channels 2 --blocks 0 0 --stem-stride 1 2 2 --middle-stride 1 1 1 --actor-channels 2 "
    "--height 12 --width 16 --stack 3 --rollout-length 32 --minibatches 1 --epochs 1 --num-envs 2 "
    "--imitation-steps 0 --eval-steps 0 --action-set drive --norm none"
)


def start(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example in a folder, whose modules go before those that are installed."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def run(name: str, *arguments: str, folder: Path) -> str:
    done = start(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_loaded_policy_drives(tmp_path: Path) -> None:
    policy = write_tiny_policy(tmp_path / "tiny")
    assert " m, " in run("drive.py", str(policy), folder=tmp_path)


@pytest.mark.real_game
def test_a_shipped_policy_drives(tmp_path: Path) -> None:
    """Those of an older version, too, whose race has other fields."""
    assert " m, finished after " in run("drive.py", "lighthouse", folder=tmp_path)


def test_a_loaded_policy_begins_on_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_tiny_policy(tmp_path / "tiny", replace(RACE, random_start=0.5))
    begun = []

    def make_and_note(race: RaceConfig) -> gymnasium.Env[Any, Any]:
        begun.append(race)
        return make_env(race)

    monkeypatch.setattr(drive, "make_env", make_and_note)
    monkeypatch.setattr(sys, "argv", ["drive.py", str(policy)])
    drive.main()
    assert begun == [RACE]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert "arguments are required: policy" in start("drive.py", folder=tmp_path).stderr
    (tmp_path / "stable_baselines3.py").write_text("raise ModuleNotFoundError('no such module')")
    done = start("other_library.py", folder=tmp_path)
    assert done.stderr == 'no such module: pip install -e ".[peers]"\n'


def test_the_reward_of_ones_own_takes_away_for_changes() -> None:
    rewards = []
    for made in (make(RACE), make_env(RACE)):
        made.reset(seed=0)
        turns = (1, 1, 2, 1)
        rewards.append([float(made.step(np.array([1, turn]))[1]) for turn in turns])
    own, original = np.array(rewards)
    assert own - original == pytest.approx([0, 0, -0.02, -0.02])


def test_a_reward_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    flags = f"--simulator fake --run-dir run --quiet --total-steps 64 {TINY}"
    run("own_reward.py", *flags.split(), folder=tmp_path)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 64


EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=240).execute()
nbformat.write(notebook, "executed.ipynb")
"""
"""A program: run a notebook in this folder, and write it with its outputs there."""


@pytest.mark.real_game
def test_the_notebook_drives_a_lap_and_shows_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(EXAMPLES / "first_race.ipynb")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = "".join("".join(output.get("text", "")) for output in outputs)
    assert "observation: uint8 (5, 72, 96, 3)" in texts
    assert re.search(r"\d{3} m, finished after \d\d\.\d s", texts)
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    assert "data:video/mp4;base64," in "".join(shown[-1]["text/html"])
    assert (tmp_path / "first_race.mp4").stat().st_size > 100_000


def test_the_notebook_is_stored_without_what_it_printed() -> None:
    cells = json.loads((EXAMPLES / "first_race.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.real_game
def test_another_library_trains_on_the_environment(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    run("other_library.py", "--steps=64", "--envs=2", "--rollout=32", folder=tmp_path)
    assert (tmp_path / "sb3_lighthouse.zip").stat().st_size > 1_000_000
