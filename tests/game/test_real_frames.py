"""What the real game draws: sizes, channels, windows, and where it cannot draw."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kart_jax.game.labels import LABELS, SPACING
from tests.helpers import scenarios, users
from tests.helpers.scenarios import PATIENT

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


def test_only_the_last_step_of_a_repeated_action_is_drawn(run: Run) -> None:
    assert run(scenarios.drawn_frames, replace(PATIENT, action_repeat=4), 5) == 5


def test_the_frame_is_the_observations_own_in_colour(run: Run) -> None:
    image = run(scenarios.reset_once, PATIENT, "rgb_array")
    assert image.shape == (48, 64, 3)
    assert image.std() > 10.0


def test_a_window_needs_a_display(run_apart: Run) -> None:
    error = run_apart(
        scenarios.message, scenarios.reset_once, PATIENT, "human", DISPLAY="", WAYLAND_DISPLAY=""
    )
    assert error.startswith("GraphicsError")
    assert "rgb_array" in error


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no X server: apt-get install xvfb")
def test_a_window_shows_the_race_on_a_display(run_apart: Run, tmp_path: Path) -> None:
    size = ("-screen", "0", "320x240x24", "-fbdir", str(tmp_path), "-displayfd", "1")
    with subprocess.Popen(
        ["Xvfb", *size], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            display = f":{server.stdout.readline().strip()}"
            screen = tmp_path / "Xvfb_screen0"
            config = replace(PATIENT, width=320, height=240)
            before, after = run_apart(scenarios.shown, config, screen, DISPLAY=display)
        finally:
            server.terminate()
    assert before < 1.0
    assert after > 10.0


def test_no_driver_is_an_error_that_says_what_to_install(run_apart: Run) -> None:
    error = run_apart(
        scenarios.message,
        scenarios.reset_once,
        PATIENT,
        __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent",
    )
    assert error.startswith("GraphicsError")
    assert "libgl1-mesa-dri" in error


def test_frames_of_any_size_are_drawn_straight(run: Run, run_apart: Run) -> None:
    """A width that is no multiple of four would show in slanted rows."""
    straight = run(scenarios.reset_once, PATIENT, "rgb_array")
    odd = run_apart(scenarios.reset_once, replace(PATIENT, width=61, height=47), "rgb_array")
    assert odd.shape == (47, 61, 3)
    resized = np.asarray(Image.fromarray(odd).resize((64, 48)))
    assert np.abs(resized.astype(float) - straight).mean() < 0.4 * straight.std()


def test_the_largest_frame_is_drawn_whole(run: Run, run_apart: Run) -> None:
    large = run_apart(scenarios.reset_once, replace(PATIENT, height=768, width=1024), "rgb_array")
    assert large.shape == (768, 1024, 3)
    small = large.reshape(48, 16, 64, 16, 3).mean((1, 3))
    straight = run(scenarios.reset_once, PATIENT, "rgb_array")
    assert np.abs(small - straight).mean() < 0.4 * straight.std()


def test_depth_grows_towards_the_horizon(run: Run) -> None:
    seen = run(scenarios.drive, replace(PATIENT, depth=True), [])["first"][-1]
    metres = 1e3 ** (seen[..., 1] / 255.0)
    assert metres[-1, 32] < metres[-8, 32] < metres[-16, 2] < 10.0
    assert (metres[0] > 500.0).all()
    assert 1.5 < metres[28, 32] < 3.0  # The kart itself, behind which the camera stands.


def test_labels_tell_what_the_colours_show(run: Run) -> None:
    """The kart is red on a brown road under a blue sky, three others stand before it."""
    config = replace(PATIENT, colour="rgb", labels=True, karts=4, start_position=4)
    seen = run(scenarios.drive, config, [])["first"][-1]
    colours, labels = seen[..., :3].astype(int), seen[..., 3] // SPACING
    kart, opponent, road = (labels == LABELS.index(name) for name in ("kart", "opponent", "road"))
    red = (colours[..., 0] > 120) & (colours[..., 1:].max(-1) < 60)
    assert (red & kart).sum() > 20
    assert (red & kart).sum() > 0.9 * (red & ~opponent).sum()
    assert 10 < opponent.sum() < kart.sum()
    assert road[-12:].mean() > 0.6
    assert (labels[:12] == LABELS.index("background")).all()
    alone = run(scenarios.drive, replace(config, karts=1, start_position=1), [])["first"][-1]
    assert not (alone[..., 3] // SPACING == LABELS.index("opponent")).any()


@pytest.mark.parametrize("kind", ["box", "nitro", "hazard"])
def test_items_are_labelled_where_they_stand(run: Run, kind: str) -> None:
    config = replace(PATIENT, track=("scotland",), colour="rgb", labels=True)
    seen = run(scenarios.seen_ahead, config, kind, 5.0)
    rows, columns = np.nonzero(seen[..., 3] // SPACING == LABELS.index(kind))
    assert len(rows) > 3
    middle = np.abs(columns - 31.5) < 8  # others of the kind may stand further away
    assert middle.any()
    item = seen[rows[middle], columns[middle], :3].mean(0)
    ground = seen[-4:, :, :3].mean((0, 1))
    assert np.abs(item - ground).max() > 25.0


def test_an_observation_may_be_written_into(run: Run) -> None:
    painted, drawn = run(users.paint_over, replace(PATIENT, stack=1, colour="rgb"))
    assert painted.max() == 0
    assert drawn.max() > 0
