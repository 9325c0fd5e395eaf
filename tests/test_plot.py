"""Plots and the list of runs, from folders as training and evaluation write them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kart_jax import config as configs
from kart_jax import plot, runs
from kart_jax.config import TrainConfig
from kart_jax.reporting import figures
from kart_jax.run_folder.logged import read_run
from tests.helpers.tiny import NETWORK, RACE

CONFIG = TrainConfig(race=RACE, network=NETWORK)


def write_run(folder: Path, seed: int = 0, lines: int = 5, pause: float = 0.0) -> Path:
    """A run whose progress grows by 10 m an update, a minute each."""
    folder.mkdir()
    config = replace(CONFIG, run=replace(CONFIG.run, seed=seed, run_dir=folder))
    configs.save(config, folder / "config.json")
    text = ""
    for n in range(lines):
        time = 60.0 * n + (pause if n > 2 else 0.0)
        line = {"step": 100 * (n + 1), "wall_time": time, "episode/finish_rate": n / 10}
        line["episode/progress_m"] = 10.0 * n + seed
        text += json.dumps(line) + "\n"
        text += json.dumps({"step": line["step"], "wall_time": time, "eval/return": 1.0}) + "\n"
    (folder / "metrics.jsonl").write_text(text + '{"step": 1')
    return folder


def report(finished: bool, path: list[list[float]]) -> dict[str, object]:
    figures = {
        "count": 1,
        "finish_rate": float(finished),
        "finish_rate_interval": (0.2, 1.0) if finished else (0.0, 0.8),
        "lap_time_mean": 30.0 if finished else None,
        "lap_time_interval": None,
        "progress_mean": 100.0,
        "progress_interval": (90.0, 110.0),
        "episodes": [{"finished": finished, "path": path}],
    }
    outline = [[0, 0, 10, 0, 4], [10, 0, 20, 5, 4]]
    return {"tracks": {"bends": {**figures, "baselines": {"ai 0": figures}, "outline": outline}}}


def test_runs_that_differ_in_their_seed_are_one_group(tmp_path: Path) -> None:
    made = [read_run(write_run(tmp_path / str(seed), seed)) for seed in (0, 1, 2)]
    other = replace(CONFIG, race=replace(RACE, difficulty=0))
    write_run(tmp_path / "other")
    configs.save(other, tmp_path / "other/config.json")
    groups = figures.group_by_seed([*made, read_run(tmp_path / "other")])
    assert {title: len(group) for title, group in groups.items()} == {
        "0 and 2 more seeds": 3,
        "other": 1,
    }


def test_curves_are_means_in_a_band(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    made = [read_run(write_run(tmp_path / str(seed), seed)) for seed in (0, 2)]
    axes = Figure().subplots()
    figures._draw_group(axes, "both", made, "episode/progress_m", figures._steps)
    [line] = axes.lines
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert (x[0], x[-1]) == (100, 500)
    assert (y[0], y[-1]) == (pytest.approx(1.0), pytest.approx(41.0))
    box = axes.collections[0].get_datalim(axes.transData)
    assert (box.y0, box.y1) == (pytest.approx(0.0), pytest.approx(42.0))


def test_lines_are_beside_those_of_the_ai_and_of_the_record() -> None:
    [track] = report(True, [])["tracks"].values()  # type: ignore[attr-defined]
    track["episodes"][0]["difficulty"] = 2
    track["baselines"] = {name: {**track} for name in ("ai 0", "ai 2", "coach", "human record 3")}
    track["baselines"]["ai 2"]["lap_time_mean"] = None
    assert list(plot._beside(track)) == [
        "the policy, 1 episodes, 30.0 s",
        "the game's AI, difficulty 2",
        "the human record, difficulty 3, 30.0 s",
    ]


def test_time_stands_still_between_a_stop_and_a_resume(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", pause=100_000.0))
    assert figures._minutes(run)[::2].tolist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("path", [[], [[0.0, 0.0, 1.0], [9.0, 1.0, 20.0]]])
@pytest.mark.parametrize("finished", [True, False])
def test_pictures_are_written(
    path: list[list[float]],
    finished: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation = tmp_path / "eval.json"
    evaluation.write_text(json.dumps(report(finished, path)))
    sources = [str(write_run(tmp_path / "run")), str(write_run(tmp_path / "new", lines=0))]
    out = tmp_path / "plots"
    assert plot.main([*sources, str(evaluation), "--out", str(out)]) == 0
    names = {"learning_curves.png", "eval_bends_lines.png", "eval_bends_drivers.png"}
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == names
    assert all((out / name).stat().st_size > 5000 for name in names)


def test_what_cannot_be_plotted_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    assert plot.main([str(wrong)]) == 1
    assert "was not written by kart_jax.evaluate" in capsys.readouterr().err
    assert plot.main([str(tmp_path / "nowhere.json")]) == 1
    assert "nowhere.json does not exist: name runs" in capsys.readouterr().err


def test_runs_are_listed_with_their_best_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert runs.main([str(tmp_path)]) == 1
    assert "holds no runs" in capsys.readouterr().err
    write_run(tmp_path / "good")
    (tmp_path / "good/checkpoints").mkdir()
    best = {"eval/finish_rate": 0.9, "eval/progress_m": 190.0, "eval/finish_time": 12.0}
    text = json.dumps({"step": 400, "metrics": best})
    (tmp_path / "good/checkpoints/best.json").write_text(text)
    write_run(tmp_path / "bad")
    (tmp_path / "bad/config.json").write_text("{")
    assert runs.main([str(tmp_path)]) == 0
    printed = capsys.readouterr()
    [good] = [line for line in printed.out.splitlines() if "good" in line]
    for figure in ("bends", "500", "40%, 40 m", "90%, 12.0 s at 400"):
        assert figure in good
    assert "bad is left out" in printed.err
    assert "not a saved configuration" in printed.err


def test_a_runs_name_is_whole_in_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "2026-11-25_10-11-12_lighthouse+zengarden"
    write_run(tmp_path / name)
    (tmp_path / name / "checkpoints").mkdir()
    best = {"step": 10_349_000, "metrics": {"eval/finish_rate": 0.0, "eval/progress_m": 175.0}}
    (tmp_path / name / "checkpoints/best.json").write_text(json.dumps(best))
    assert runs.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    folded = "".join(line.split()[0] for line in lines if line[:1].strip())
    assert name in folded
    assert "…" not in "".join(lines)
