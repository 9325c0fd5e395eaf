"""Playing, filming and recording: what is asked for is driven, written, and readable."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from kart_jax.evaluation.drivers import Step
from kart_jax.evaluation.video import (
    FRAME,
    HEIGHT,
    HIGH,
    WIDTH,
    annotate,
    check_encoder,
    print_progress,
    write_video,
)
from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls
from kart_jax.play import describe_episode, describe_episodes, main
from kart_jax.record import RecordConfig
from kart_jax.record import main as record
from tests.helpers.tiny import RACE, write_tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_policy(tmp_path_factory.mktemp("policies") / "tiny"))


@pytest.fixture(scope="module")
def real_policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    race = RaceConfig(
        height=RACE.height, width=RACE.width, stack=3, action_set="drive", time_limit=2.0
    )
    return str(write_tiny_policy(tmp_path_factory.mktemp("real") / "tiny", race))


def run(*arguments: str) -> str:
    """Run a module in a process of its own, which the game needs; what it printed, and told."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_episode_is_told_and_written(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    assert main([policy, "--track", "bends", "other", "--episodes", "3", "--json", str(path)]) == 0
    episodes = json.loads(path.read_text())["episodes"]
    assert [e["track"] for e in episodes] == ["bends", "other", "bends"]
    assert [e["seed"] for e in episodes] == [0, 1, 2]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert "3 episodes" in printed[-1]


def test_other_drivers_drive_in_the_policys_place(policy: str, tmp_path: Path) -> None:
    progress = {}
    for driver in ("straight", "random", "guide"):
        path = tmp_path / f"{driver}.json"
        assert main([policy, "--driver", driver, "--episodes", "1", "--json", str(path)]) == 0
        progress[driver] = json.loads(path.read_text())["episodes"][0]["progress_m"]
    assert progress["guide"] > progress["straight"] > 10
    assert progress["random"] != progress["straight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no policy is named: add a run's folder"),
        ("nowhere", "nowhere does not exist"),
        ("POLICY --video lap.avi", "a file name in .mp4 or .gif"),
        ("POLICY --video /no/such/folder/lap.mp4", "in a folder that exists"),
        ("POLICY --video lap.mp4", "the fake game has no views"),
        ("POLICY --overlay", "used with --video"),
        ("POLICY --episodes 0", "episodes = 0 is not allowed"),
    ],
)
def test_what_cannot_be_played_is_said(
    arguments: str, message: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        raise SystemExit(main(arguments.replace("POLICY", policy).split()))
    assert refusal.value.code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_recorded_is_said(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record([policy, "--out", str(tmp_path / "out.npz")]) == 1
    assert "simulator = 'fake' is not allowed" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"in \.npz"):
        RecordConfig(out=Path("out.txt"))


def step(steer: float, controls: Controls | None = None) -> Step:
    frames = np.full((2, 12, 16, 1), 77, np.uint8)
    return Step({"frames": frames}, [1, 1], controls or Controls(steer=steer), 0.0, {}, None)


def lit(image: np.ndarray) -> np.ndarray:
    """Columns of the wheel's bar that are lit."""
    row = image[HEIGHT - 44 + 5]
    return np.flatnonzero((row == HIGH).all(axis=-1))


def test_the_overlay_shows_the_wheel_the_lamps_the_value_and_the_view() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, right = (lit(annotate(RACE, black, step(steer))) for steer in (-1.0, 1.0))
    assert left.max() <= right.min()
    assert len(left) > 40
    assert len(right) > 40
    dark = annotate(RACE, black, step(0.0))
    bright = annotate(RACE, black, step(0.0, Controls(acceleration=1.0, drift=True)))
    assert not (dark[-30:] == HIGH).all(axis=-1).any()
    assert (bright[-30:] == HIGH).all(axis=-1).any()
    assert (dark[8:20, -100:-20] == 77).all()
    assert not (dark[:60, :150] == FRAME).all(axis=-1).any()
    valued = annotate(RACE, black, replace(step(0.0), value=1.5))
    assert (valued[:60, :150] == FRAME).all(axis=-1).any()


def test_the_overlay_shows_the_colours_of_a_frame_and_not_its_depth_or_labels() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    grey = np.full((2, 12, 16, 1), 77, np.uint8)
    more = np.concatenate([grey, grey + 50, grey + 100], axis=-1)
    race = replace(RACE, depth=True, labels=True)
    plain, with_more = (replace(step(0.0), seen={"frames": frames}) for frames in (grey, more))
    expected = annotate(RACE, black, plain)
    np.testing.assert_array_equal(annotate(race, black, with_more), expected)


def read_video(path: Path, height: int, width: int) -> np.ndarray:
    """All frames uint8 `[N, H, W, 3]`."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), *raw]
    pixels = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_holds_every_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    frames = [np.full((32, 48, 3), 25 * n, np.uint8) for n in range(10)]
    write_video(path, frames, fps=10)
    read = read_video(path, 32, 48)
    assert len(read) == 10
    for frame, expected in zip(read, frames, strict=True):
        assert abs(float(frame.mean()) - float(expected.mean())) < 6


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_that_is_interrupted_leaves_what_was_there(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("the last one")

    def frames() -> Iterator[np.ndarray]:
        yield from [np.zeros((32, 48, 3), np.uint8)] * 100
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames(), fps=10)
    assert path.read_text() == "the last one"
    assert list(tmp_path.iterdir()) == [path]


def test_filming_tells_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    views = [np.full((8, 8, 3), n, np.uint8) for n in range(110)]
    assert list(print_progress(views, 110)) == views
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == ["filmed 50 of 110 views", "filmed 100 of 110 views"]


def test_a_finish_is_told_at_the_same_time_in_each_line() -> None:
    episode = {"track": "bends", "progress_m": 200.0, "progress_fraction": 1.0, "return": 1.0}
    episode |= {"end": "finished", "finished": True, "finish_time": 28.84, "game_seconds": 28.9}
    assert "finished after 28.8 s" in describe_episode(episode)
    assert "1 finished in 28.8 s" in describe_episodes([episode])


@pytest.mark.real_game
def test_a_played_episode_is_filmed(real_policy: str, tmp_path: Path) -> None:
    path = tmp_path / "lap.mp4"
    options = ["--episodes", "1", "--driver", "straight", "--video", str(path), "--overlay"]
    printed = run("kart_jax.play", real_policy, *options)
    assert "time_limit after 2.0 s" in printed
    assert "filming, for which the races are driven again" in printed
    frames = read_video(path, HEIGHT, WIDTH)
    assert len(frames) == 20
    changes = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert (changes[-5:] > 1).all()


@pytest.mark.real_game
def test_a_recording_tells_what_the_ai_saw_and_did(real_policy: str, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    run("kart_jax.record", real_policy, "--driver", "ai", "--episodes", "2", "--out", str(path))
    with np.load(path) as file:
        data = dict(file)
    assert data["frames"].shape == (40, RACE.height, RACE.width, 1)
    assert data["episodes"].tolist() == [0] * 20 + [1] * 20
    assert [s["end"] for s in json.loads(str(data["summaries"]))] == ["time_limit"] * 2
    columns = dict(zip(data["control_names"], data["controls"].T, strict=True))
    assert columns["acceleration"].mean() > 0.5
    states = dict(zip(data["state_names"], data["states"].T, strict=True))
    moved = np.hypot(np.diff(states["x"][:20]), np.diff(states["z"][:20]))
    assert moved == pytest.approx(0.1 * states["speed"][1:20], abs=0.3)
    assert json.loads(str(data["race"]))["driver"] == "ai"


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/false"])
def test_an_encoder_that_does_not_run_is_told_before_anything_is_driven(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    assert main(["--driver", "straight", "--video", "lap.mp4"]) == 1
    assert f"IMAGEIO_FFMPEG_EXE names {program}: correct it" in capsys.readouterr().err
    check_encoder(".gif")  # which needs no program
