"""A page about a run, from the command on: on the fake game, and filmed on the real one."""

import json
from pathlib import Path

import pytest

from kart_jax import report, train
from kart_jax.game import RaceConfig
from tests.helpers.tiny import RACE, write_tiny_policy
from tests.helpers.tiny_run import arguments


def test_a_runs_page_is_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "my run"
    assert train.main(arguments(run_dir, 1, "--workers", "serial")) == 0
    capsys.readouterr()
    assert report.main([str(run_dir), "--episodes", "1", "--baseline-episodes", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{run_dir}/report.html (")
    page = (run_dir / "report.html").read_text()
    for text in ("<title>my run</title>", "How it learnt", "Where it drives", "rollout_length"):
        assert text in page


def test_an_evaluation_at_hand_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(write_tiny_policy(tmp_path / "tiny"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.json").write_text("{}")
    assert report.main([policy, "--evaluation", "wrong.json", "--no-film"]) == 1
    assert "was not written by kart_jax.evaluate --json" in capsys.readouterr().err
    settings = {"difficulty": 1, "opponents": 0}
    (tmp_path / "x.json").write_text(json.dumps({"settings": settings, "tracks": {}}))
    assert report.main([policy, "--evaluation", "x.json", "--no-film"]) == 0
    assert "Settings" in (tmp_path / "tiny_report.html").read_text()


def test_tracks_beside_an_evaluation_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["lighthouse", "--evaluation", "x.json", "--tracks", "mines"])
    assert "tracks = ('mines',) is not allowed" in capsys.readouterr().err


@pytest.mark.real_game
def test_a_real_race_is_filmed_into_the_page(tmp_path: Path) -> None:
    race = RaceConfig(
        height=RACE.height, width=RACE.width, stack=3, action_set="drive", time_limit=2.0
    )
    policy = str(write_tiny_policy(tmp_path / "tiny", race))
    out = tmp_path / "page.html"
    few = ("--episodes", "1", "--baseline-episodes", "1")
    assert report.main([policy, *few, "--out", str(out)]) == 0
    page = out.read_text()
    assert "data:video/mp4;base64," in page
    assert "human world record" in page
    assert "ended early: time limit 1" in page
