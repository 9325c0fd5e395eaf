"""A run's folder is its own, however many begin at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from kart_jax.config import TrainConfig, load
from kart_jax.run_folder import folder
from kart_jax.run_folder.folder import open_run


def with_seed(seed: int, run_dir: Path | None = None) -> TrainConfig:
    config = TrainConfig()
    return replace(config, run=replace(config.run, seed=seed, run_dir=run_dir))


def test_runs_of_the_same_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "default_folder", lambda _: Path("runs/now"))
    with open_run(with_seed(0)) as first, open_run(with_seed(1)) as second:
        pass
    with open_run(with_seed(2)) as third:  # the others have ended
        pass
    assert [str(path) for path in (first, second, third)] == [
        "runs/now",
        "runs/now_2",
        "runs/now_3",
    ]
    assert [load(path / "config.json").run.seed for path in (first, second, third)] == [0, 1, 2]


def test_a_run_that_began_in_the_named_folder_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(with_seed(0, tmp_path / "run")):
        pass
    monkeypatch.setattr(folder, "check_run", lambda _: None)  # it was not there then
    with pytest.raises(ValueError, match="just begun"), open_run(with_seed(1, tmp_path / "run")):
        pass
    assert load(tmp_path / "run/config.json").run.seed == 0
