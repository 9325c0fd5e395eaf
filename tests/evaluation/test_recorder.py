"""Videos during training: when, of which episode, and what happens when they fail."""

import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax import train
from kart_jax.evaluation import recorder
from kart_jax.evaluation.drivers import Step
from kart_jax.evaluation.recorder import Recorder
from kart_jax.run_folder.source import policy_spec
from tests.evaluation.test_evaluator import CONFIG
from tests.helpers.tiny import RACE
from tests.helpers.tiny_run import train_in
from tests.test_play import read_video

VIDEO_CONFIG = replace(CONFIG, run=replace(CONFIG.run, eval_steps=0, video_steps=48))


def test_training_films_whole_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filmed: list[list[Step]] = []

    def film(race: Any, steps: list[Step], draw: Any) -> Any:
        filmed.append(steps)
        for step in steps:
            yield draw(np.zeros((400, 640, 3), np.uint8), step)

    monkeypatch.setattr(recorder, "film", film)  # the fake game has no views
    monkeypatch.setattr(train, "check_extras", lambda config: None)  # and so is refused
    train_in(tmp_path, VIDEO_CONFIG)
    written = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert written[0] == "64.mp4"  # that of 96 is left out where the first takes long
    frames = read_video(tmp_path / "videos" / "64.mp4", 400, 640)
    assert len(frames) == len(filmed[0])
    steps = filmed[0]
    assert {step.info["track"] for step in steps} == {"bends"}
    assert all(step.value is not None for step in steps)
    assert not (steps[0].seen["frames"] == steps[-1].seen["frames"]).all()


def test_a_video_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(race: Any, steps: list[Step], draw: Any) -> Any:
        yield from [np.zeros((400, 640, 3), np.uint8)] * 100
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, "film", fail)
    monkeypatch.setattr(train, "check_extras", lambda config: None)
    train_in(tmp_path, VIDEO_CONFIG)
    assert "training continues: [Errno 28] No space left on device" in caplog.text
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_video_at_hand_is_abandoned_at_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And leaves nothing, however slow the encoder is; nor does one whose process was killed."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/.24.mp4").touch()
    videos = Recorder(VIDEO_CONFIG, policy_spec(VIDEO_CONFIG), tmp_path)
    filming, slow = threading.Event(), threading.Event()

    def film(race: Any, steps: list[Step], draw: Any) -> Any:
        while not (tmp_path / "videos/.48.mp4").exists():
            yield draw(np.zeros((400, 640, 3), np.uint8), steps[0])
        filming.set()
        slow.wait(60)
        while True:
            yield draw(np.zeros((400, 640, 3), np.uint8), steps[0])

    monkeypatch.setattr(recorder, "film", film)
    monkeypatch.setattr(recorder, "STOP_SECONDS", 0.1)
    videos.start(48, policy_spec(VIDEO_CONFIG).init(jax.random.key(0)))
    assert filming.wait(120)
    videos.close(wait=False)
    assert list((tmp_path / "videos").iterdir()) == []
    slow.set()
    videos.close(wait=True)
    assert caplog.text == ""
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_package_that_is_missing_is_told_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("kart_jax.game.engine.catalogue.check_installed", lambda race: None)
    assert train.main(["--run-dir", str(tmp_path / "run"), "--wandb"]) == 1
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.real_game
def test_a_real_race_is_filmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    race = replace(RACE, simulator="supertuxkart", track=("lighthouse",), time_limit=2.0)
    config = replace(VIDEO_CONFIG, race=race)
    spec = policy_spec(config)
    videos = Recorder(config, spec, tmp_path)
    videos.start(48, spec.init(jax.random.key(0)))
    videos.close(wait=True)
    assert caplog.text == ""
    views = read_video(tmp_path / "videos/48.mp4", 400, 640)
    assert len(views) == 20
    assert views[0].std() > 10
