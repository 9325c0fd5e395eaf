"""The saliency video: refusals, the glow, and the whole way on the real game."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from kart_jax.saliency import HEIGHT, light_up, main, view_size
from tests.helpers.tiny import RACE, write_tiny_policy
from tests.test_play import read_video


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("POLICY --video out.avi", "a file name in .mp4 or .gif"),
        ("POLICY", "the fake game has no views"),
        ("POLICY --rows 1", "rows = 1 is not allowed"),
    ],
)
def test_what_cannot_be_filmed_is_said(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(write_tiny_policy(tmp_path / "tiny"))
    with pytest.raises(SystemExit) as refusal:
        raise SystemExit(main(arguments.replace("POLICY", policy).split()))
    assert refusal.value.code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("height", "width", "view"),
    [(48, 64, (480, 640)), (400, 600, (480, 720)), (48, 128, (384, 1024)), (8, 1024, (16, 1024))],
)
def test_a_view_has_the_frames_shape_and_a_size_that_can_be_drawn(
    height: int, width: int, view: tuple[int, int]
) -> None:
    race = RaceConfig(height=height, width=width)
    assert view_size(race) == view
    replace(race, height=view[0], width=view[1])


def test_the_glow_is_where_the_heat_is() -> None:
    view = np.full((48, 64, 3), 100, np.uint8)
    heat = np.zeros((6, 8), np.float32)
    heat[1, 6] = 2.0
    red = light_up(view, heat, most=2.0)[..., 0].astype(int)
    assert red[12, 52] > 150
    assert (red[24:, :32] == 50).all()


@pytest.mark.real_game
def test_a_drive_is_filmed_with_its_glow(tmp_path: Path) -> None:
    race = RaceConfig(
        height=RACE.height, width=RACE.width, stack=3, action_set="drive", time_limit=2.0
    )
    policy, path = write_tiny_policy(tmp_path / "tiny", race), tmp_path / "out.mp4"
    command = [sys.executable, "-m", "kart_jax.saliency", str(policy), "--video", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "blurring 192 places in each of 20 observations" in done.stdout
    assert len(read_video(path, HEIGHT, 640)) == 20
