"""The picture of tracks: its layout, and a small one of the real game."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kart_jax.game.gallery import channels, main, tile
from kart_jax.game.labels import LABELS, SPACING


def test_frames_stand_in_rows_enlarged_on_white() -> None:
    frames = [np.full((2, 3, 3), shade, np.uint8) for shade in (10, 20, 30)]
    picture = tile(frames, columns=2, scale=4, gap=1)
    assert picture.shape == (2 * 8 + 1, 2 * 12 + 1, 3)
    assert (picture[:8, :12] == 10).all()
    assert (picture[:8, 13:] == 20).all()
    assert (picture[9:, :12] == 30).all()
    assert (picture[9:, 12:] == 255).all()


def test_depth_and_labels_become_pictures_of_their_own() -> None:
    frame = np.zeros((1, len(LABELS), 5), np.uint8)
    frame[0, :, 3] = 7
    frame[0, :, 4] = np.arange(len(LABELS)) * SPACING
    colours, depth, labels = channels(frame)
    assert colours.shape == depth.shape == labels.shape == (1, len(LABELS), 3)
    assert (depth == 7).all()
    assert len({tuple(pixel) for pixel in labels[0]}) == len(LABELS)
    assert len(channels(frame[..., :3])) == 1


@pytest.mark.parametrize("wrong", ["--tracks nowhere", "--output /no/such/folder/x.png"])
def test_what_cannot_be_drawn_is_said(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong.split()) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.real_game
def test_each_track_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "tracks.png"
    command = [sys.executable, "-m", "kart_jax.game.gallery", "--seconds", "0.5"]
    command += ["--tracks", "lighthouse", "snowtuxpeak", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    picture = np.asarray(Image.open(path)).astype(float)
    first, second = picture[:216, :288], picture[:216, 292:580]
    assert min(first.std(), second.std()) > 10
    assert np.abs(first - second).mean() > 10
