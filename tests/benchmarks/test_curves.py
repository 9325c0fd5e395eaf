"""Learning curves: when runs got where."""

from benchmarks.curves import curve_of, draw, ends, medians, milestones
from benchmarks.runs import Line


def updates(*steps: int) -> list[Line]:
    return [
        {
            "step": step,
            "wall_time": 1000.0 + step,
            "episode/progress_m": 100.0 + step,
            "episode/finish_rate": step / 100,
            "episode/finish_time": 100.0 - step,
        }
        for step in steps
    ]


def test_a_curve_ends_with_its_time() -> None:
    curve = curve_of("ours", 3, updates(0, 60, 90, 100), 1000.0, 1.5)
    assert curve["minutes"] == [0.0, 1.0, 1.5]
    assert ends(curve) | {"system": "ours", "seed": 3} == ends(curve)
    assert ends(curve)["progress_m"] == 190.0
    reached = {"200 m": None, "400 m": None, "first lap": 1.0, "90% of laps": 1.5}
    assert milestones(curve) == {"system": "ours", "seed": 3, **reached}
    assert milestones(curve, "steps")["90% of laps"] == 90
    # At 40 s few laps are finished: the mean of those is no lap time.
    assert milestones(curve, beat=45.0)["laps below 45 s"] == 1.0
    assert milestones(curve, beat=9.0)["laps below 9 s"] is None


def test_whole_races_count_where_they_are_set_apart() -> None:
    """Neither before the first of them, nor for a lap time that none of them has."""
    early, late = ({**line, "episode/return": 1.0} for line in updates(40, 50))
    late |= {"grid/progress_m": 7.0, "grid/finish_rate": 0.0}
    curve = curve_of("ours", 0, [early, late], 1000.0, 1.0)
    assert (curve["steps"], curve["progress_m"], curve["finish_rate"]) == ([50], [7.0], [0.0])
    assert curve["finish_time"] == [None]


def test_a_run_without_an_episode_got_nowhere() -> None:
    curve = curve_of("ours", 0, [{"step": 1, "wall_time": 0.0}], 0.0, 1.0)
    assert ends(curve)["progress_m"] is None
    assert set(milestones(curve).values()) == {"ours", 0, None}


def test_checkpoints_that_raced_have_a_milestone_and_an_end() -> None:
    curve = curve_of("ours", 0, updates(30, 60), 1000.0, 2.0)
    curve["greedy"] = [
        {"steps": 30, "minutes": 0.5, "finish_rate": 0.8, "finish_time": 50.0},
        {"steps": 60, "minutes": 1.0, "finish_rate": 0.95, "finish_time": 40.0},
    ]
    assert milestones(curve)["90% of greedy laps"] == 1.0
    assert milestones(curve, "steps")["90% of greedy laps"] == 60
    assert ends(curve)["greedy finish_time"] == 40.0


def test_a_median_counts_who_did_not_get_there_as_the_last() -> None:
    rows = [{"system": "ours", "seed": n, "lap": lap} for n, lap in enumerate([3.0, None, 5.0])]
    rows.append({"system": "sb3", "seed": 0, "lap": None})
    assert medians(rows) == [
        {"system": "ours", "seed": "median of 3", "lap": 5.0},
        {"system": "sb3", "seed": "median of 1", "lap": None},
    ]


def test_seeds_are_drawn_as_one_band() -> None:
    curves = [curve_of("sb3", seed, updates(30, 60 + seed), 1000.0, 2.0) for seed in (0, 1)]
    curves[0]["greedy"] = [{"steps": 30, "minutes": 0.5, "finish_rate": 0.8, "finish_time": None}]
    metres, _, finished, _ = draw([*curves, curve_of("kart_jax", 0, [], 0.0, 1.0)]).axes
    assert metres.get_legend_handles_labels()[1] == ["sb3, seeds 0, 1"]
    assert len(metres.collections) == len(finished.collections) == 1
    assert metres.lines[0].get_ydata()[0] == 130.0
    assert finished.lines[1].get_xydata().tolist() == [[0.5, 0.8]]
