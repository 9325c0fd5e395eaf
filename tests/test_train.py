"""What a run says before it starts."""

from dataclasses import replace
from pathlib import Path

import pytest

from kart_jax import doctor
from kart_jax.config import PRESETS, TrainConfig
from kart_jax.run_folder.folder import IMITATED
from kart_jax.train import first_stage, warn


@pytest.mark.parametrize(
    ("preset", "platform", "free", "warned"),
    [
        ("cpu", "cpu", 10**12, []),
        ("gpu", "gpu", 10**12, []),
        ("gpu", "cpu", 10**12, ["preset gpu is for a GPU or a TPU"]),
        ("cpu", "cpu", 3 * 10**9, ["3.0 GB free", "--num-envs 3 or fewer"]),
    ],
)
def test_a_machine_that_will_not_do_is_told(
    preset: str,
    platform: str,
    free: int,
    warned: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    warn(PRESETS[preset], platform)
    assert all(words in caplog.text for words in warned)
    assert bool(caplog.text) == bool(warned)


def test_the_fake_game_needs_no_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 0)
    config = PRESETS["cpu"]
    warn(replace(config, race=replace(config.race, simulator="fake")), "cpu")
    assert not caplog.text


def test_what_comes_first_is_told(tmp_path: Path) -> None:
    config = PRESETS["cpu"]
    assert first_stage(config, tmp_path) == "imitating first, for 30,000 steps"
    short = replace(config, run=replace(config.run, minutes=2.0))
    assert first_stage(short, tmp_path).endswith("not cut short by --minutes 2")
    assert first_stage(TrainConfig(), tmp_path).startswith("compiling first")
    (tmp_path / IMITATED).mkdir()
    assert first_stage(config, tmp_path).startswith("compiling first")
