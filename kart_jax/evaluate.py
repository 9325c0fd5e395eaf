"""`python -m kart_jax.evaluate`: measure how well a policy races, beside the game's AI and others.

Every episode starts on the grid, moved aside a little and after a few random actions, from
seeds that training does not draw. The game's AI starts as it stands. The human world record is
the game's own replay of a time trial at difficulty 3, with a zipper for each lap; it may cut
corners.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro
from rich.console import Console
from rich.table import Table

from kart_jax.cli.command import INTERRUPTED, command, program
from kart_jax.config import race_of
from kart_jax.evaluation.drivers import COACH
from kart_jax.evaluation.statistics import end_seconds, episode_statistics
from kart_jax.evaluation.trials import (
    PATH_SECONDS,
    SELECTION_SEEDS,
    Driver,
    Trial,
    TrialResult,
    make_trial,
    run_trials,
)
from kart_jax.files import check_output, expand_paths
from kart_jax.game import RaceConfig
from kart_jax.game.config import DIFFICULTIES, Scenery
from kart_jax.game.engine.catalogue import check_installed, expand_tracks
from kart_jax.game.engine.records import world_record
from kart_jax.plot import plot_report
from kart_jax.validation import check, check_choice

if TYPE_CHECKING:
    from kart_jax.policy.policy import Policy


@dataclass(frozen=True)
class EvaluateConfig:
    """Which policy to evaluate, on what."""

    policy: Annotated[str, tyro.conf.Positional]
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name."""
    tracks: tuple[str, ...] | None = None
    """Tracks, separated by spaces or commas, or `all`; by default those of the training."""
    episodes: int = 20
    """Greedy episodes of the policy on each track."""
    baseline_episodes: int = 5
    """Episodes of each other driver (the AI at each difficulty, the coach, the guide, straight on,
    random) on each track; 0 leaves them out, and the human world record with them."""
    seed: int = 0
    """The first of the episodes' seeds, which decide starts, grid places and opponents."""
    opponents: int = 0
    """Karts driven by the game."""
    difficulty: int | None = None
    """0 to 3, of the policy's races; by default that of the training."""
    scenery: Scenery = "full"
    """What the policy sees: `full`, the game as it is, or `lean`."""
    workers: int = 2
    """Races at once."""
    json: Path | None = None
    """Write statistics, episodes and driven paths to this file."""
    plot: Path | None = None
    """Plot the driven lines, and the drivers side by side, to this folder."""

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        expand_paths(self)
        check(self.tracks != (), "tracks", self.tracks, "at least one track")
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        check(self.baseline_episodes >= 0, "baseline_episodes", self.baseline_episodes, "0 or more")
        most = SELECTION_SEEDS - max(self.episodes, self.baseline_episodes)
        check(0 <= self.seed <= most, "seed", self.seed, f"0 to {most}")
        check(0 <= self.opponents <= 19, "opponents", self.opponents, "0 to 19")
        check(1 <= self.workers <= 10_000, "workers", self.workers, "1 to 10000")
        check_output("json", self.json)
        check_choice("scenery", self.scenery, get_args(Scenery))
        if self.difficulty is not None:
            check_choice("difficulty", self.difficulty, DIFFICULTIES)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; print a table for each track, the one so far on Ctrl-C."""
    config = tyro.cli(EvaluateConfig, args=arguments, prog=program("evaluate"))
    if config.plot is not None:
        config.plot.mkdir(parents=True, exist_ok=True)
    report, whole = evaluate(config)
    for track, statistics in report["tracks"].items():
        Console().print(_table(track, statistics, report["settings"]))
    if not whole:
        return INTERRUPTED
    if config.json is not None:
        config.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if config.plot is not None:
        plot_report(report, config.plot, "evaluation")
    return 0


def evaluate(config: EvaluateConfig) -> tuple[dict[str, Any], bool]:
    """Drive all episodes, or those until Ctrl-C, and print a line for each.

    Returns:
        The report that `--json` writes, and whether all was driven.

    Raises:
        ValueError: a track or a value is not available.
        CheckpointError: there is no such policy.
        WorkersLostError: the game cannot run.
    """
    from kart_jax.run_folder.loading import load_policy

    policy = load_policy(config.policy)
    race = race_of(policy.race)
    trials = list(list_trials(config, race))
    for trial in trials:
        check_installed(trial.race(race))
    _show_plan(config, trials)
    results: list[TrialResult] = []
    try:
        for result in _drive(race, trials, policy, config.workers):
            results.append(result)
            _show_progress(len(results), len(trials), result)
    except KeyboardInterrupt:
        print(f"interrupted after {len(results)} of {len(trials)} episodes", file=sys.stderr)
    order = {trial: number for number, trial in enumerate(trials)}
    results.sort(key=lambda result: order[result.trial])
    return report(config, race, results), len(results) == len(trials)


def _drive(
    race: RaceConfig, trials: Sequence[Trial], policy: "Policy", workers: int
) -> Iterator[TrialResult]:
    """Drive all trials; the coach has actions of its own, and sees the state."""
    from kart_jax.run_folder.loading import load_policy

    others = [trial for trial in trials if trial.driver != "coach"]
    yield from run_trials(race, others, policy.act, workers)
    if len(others) < len(trials):
        coach = load_policy(COACH)
        its_race = replace(race_of(coach.race), laps=race.laps)
        own = [replace(trial, driver="policy") for trial in trials if trial.driver == "coach"]
        for result in run_trials(its_race, own, coach.act, workers):
            yield replace(result, trial=replace(result.trial, driver="coach"))


def list_trials(config: EvaluateConfig, race: RaceConfig) -> Iterator[Trial]:
    """Yield the policy's episodes on each track, then the other drivers'."""
    tracks = (
        race.track if config.tracks is None else expand_tracks(",".join(config.tracks).split(","))
    )
    own = race.difficulty if config.difficulty is None else config.difficulty
    karts = config.opponents + 1
    others: list[tuple[Driver, int]] = [("ai", difficulty) for difficulty in DIFFICULTIES]
    if race.simulator != "fake":  # which has no coach
        others.append(("coach", own))
    others += [("guide", own), ("straight", own), ("random", own)]
    for track in tracks:
        for number in range(config.episodes):
            trial = make_trial("policy", track, config.seed + number, own, karts)
            yield replace(trial, scenery=config.scenery)
    for track in tracks:
        for driver, difficulty in others:
            for number in range(config.baseline_episodes):
                yield make_trial(driver, track, config.seed + number, difficulty, karts)


def report(
    config: EvaluateConfig, race: RaceConfig, results: Sequence[TrialResult]
) -> dict[str, Any]:
    """Return each track's statistics of the policy; other drivers' are under `baselines`."""
    tracks: dict[str, Any] = {}
    for track in dict.fromkeys(r.trial.track for r in results if r.trial.driver == "policy"):
        here = [r for r in results if r.trial.track == track]
        drivers: dict[str, list[TrialResult]] = {}
        for result in here:
            drivers.setdefault(_name(result.trial), []).append(result)
        statistics = {
            name: {
                **episode_statistics([r.episode for r in driven], race.laps),
                "episodes": [r.to_dict() for r in driven],
            }
            for name, driven in drivers.items()
        }
        if config.baseline_episodes and config.opponents == 0:
            statistics |= _record(track, race)
        tracks[track] = {
            **statistics.pop("policy"),
            "baselines": statistics,
            "outline": here[0].outline,
        }
    own = next(list_trials(config, race))
    settings = {
        "policy": config.policy,
        "seed": config.seed,
        "opponents": config.opponents,
        "difficulty": own.difficulty,
        "laps": race.laps,
        "start_jitter": own.jitter,
        "start_actions": own.actions,
    }
    return {"settings": settings, "tracks": tracks}


def _record(track: str, race: RaceConfig) -> dict[str, Any]:
    """Return the human world record as one more driver, by its name, where the data has one.

    Its laps are the first ones, from standing, of a time trial at its own difficulty.
    """
    if race.simulator == "fake" or race.direction != "forward":
        return {}
    record = world_record(track)
    seconds = record.seconds_of(race.laps) if record is not None else None
    if record is None or seconds is None:
        return {}
    episode = {
        "track": track,
        "difficulty": record.difficulty,
        "progress_m": race.laps * record.lap_length,
        "progress_fraction": 1.0,
        "finished": True,
        "finish_time": seconds,
        "position": 1.0,
        "about": record.about,
        "path": record.path(seconds, PATH_SECONDS),
    }
    name = f"human record {record.difficulty}"
    statistics = {**episode_statistics([episode], race.laps), "finish_rate_interval": None}
    return {name: {**statistics, "episodes": [episode]}}


def _name(trial: Trial) -> str:
    return f"ai {trial.difficulty}" if trial.driver == "ai" else trial.driver


def _show_plan(config: EvaluateConfig, trials: Sequence[Trial]) -> None:
    """Print the number of episodes: other drivers may take longer than the policy."""
    own = sum(trial.driver == "policy" for trial in trials)
    print(
        f"driving {own} episodes of the policy and {len(trials) - own} of other drivers "
        f"(--baseline-episodes {config.baseline_episodes}) "
        f"on {', '.join(dict.fromkeys(trial.track for trial in trials))}",
        file=sys.stderr,
        flush=True,
    )


def _show_progress(done: int, total: int, result: TrialResult) -> None:
    trial, episode = result.trial, result.episode
    print(
        f"[{done}/{total}] {_name(trial)} on {trial.track}: {episode['progress_m']:.0f} m, "
        f"{episode['end']} after {end_seconds(episode):.1f} s",
        file=sys.stderr,
    )


def _table(track: str, statistics: dict[str, Any], settings: dict[str, Any]) -> Table:
    """Return a table with a row for each driver; intervals are of 95% confidence."""
    table = Table(
        title=f"{track}, difficulty {settings['difficulty']}, {settings['opponents']} opponents"
    )
    for name in ("driver", "episodes", "finished", "lap time", "best", "progress", "position"):
        table.add_column(name, justify="left" if name == "driver" else "right")
    for name, row in {"policy": statistics, **statistics["baselines"]}.items():
        table.add_row(
            name,
            str(row["count"]),
            f"{row['finish_rate']:.0%}" + _interval(row["finish_rate_interval"], ".0%"),
            _seconds(row["lap_time_mean"]) + _interval(row["lap_time_interval"], ".1f"),
            _seconds(row["lap_time_best"]),
            f"{row['progress_mean']:.0f} m" + _interval(row["progress_interval"], ".0f"),
            f"{row['position_mean']:.1f}",
        )
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _interval(interval: tuple[float, float] | None, form: str) -> str:
    return "" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})"


if __name__ == "__main__":
    sys.exit(main())
