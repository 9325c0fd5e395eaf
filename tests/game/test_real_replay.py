"""Races driven again on the real game, at a viewing size."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kart_jax.game.replay import replay
from tests.helpers import scenarios
from tests.helpers.scenarios import PATIENT

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


def test_a_replay_tells_what_it_cannot_race(run: Run) -> None:
    about = {"track": "nowhere", "reverse": False, "episode_seed": 1}
    with pytest.raises(ValueError, match="track = 'nowhere'"):
        next(replay(PATIENT, about, []))
    with pytest.raises(ValueError, match=r"about = \{\}"):
        next(replay(PATIENT, {}, []))


def test_a_replay_repeats_the_race_at_a_viewing_size(run: Run) -> None:
    config = replace(PATIENT, random_start=1.0, colour="rgb")
    actions = scenarios.sampled(config, 30, 1)
    raced = run(scenarios.drive, config, actions, 5)
    frames = list(replay(config, raced["about"], actions, height=96, width=128))
    assert len(frames) == len(actions) + 1
    assert all(frame.shape == (96, 128, 3) for frame in frames)
    small = frames[-1].reshape(48, 2, 64, 2, 3).mean((1, 3))
    there = np.abs(small - raced["last"][-1]).mean()
    elsewhere = np.abs(small - raced["first"][-1]).mean()
    assert there < 12.0 < elsewhere
    shown = next(replay(config, raced["about"], actions, height=96, width=128, hud=True))
    assert np.abs(shown.astype(float) - frames[0]).mean() > 2.0  # the display lies over it


SCRIPT = """
from kart_jax.game import RaceConfig
from kart_jax.game.replay import replay

print("begins")
about = {"track": "lighthouse", "reverse": False, "episode_seed": 1}
frames = list(replay(RaceConfig(action_set="drive"), about, [[1, 1]] * 3, height=48, width=64))
print(len(frames), frames[0].shape)
"""


@pytest.mark.parametrize("source", ["script", "standard input"])
def test_a_replay_does_not_run_its_callers_script_again(source: str, tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *([script] if source == "script" else ["-"])],
        input=None if source == "script" else SCRIPT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begins\n4 (48, 64, 3)\n"
