"""Every race track, in both directions: does it load, how fast is it, how fast is the AI?

    python -m benchmarks.tracks [--tracks mines abyss] [--json tracks.json]
    python -m benchmarks.tracks --resets 500

The first prints a table; the second changes the track at each of so many resets in one
process and prints how its resident memory grew, exit status 1 if by 10% or more.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from kart_jax.game import RaceConfig, catalogue
from kart_jax.game.actions import Controls
from kart_jax.game.centreline import Progress
from kart_jax.game.env import KartEnv
from kart_jax.game.race import Race

CONFIG = RaceConfig(action_set="drive", stuck_seconds=1e4, wrong_way_seconds=1e4, time_limit=1e4)
COLUMNS = ("track", "direction", "length_m", "load_s", "restart_s", "steps_s", "frames_s")
AI_COLUMNS = ("ai_0_s", "ai_2_s", "tracked")


def seconds(action: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def speed_of(track: str, reverse: bool, steps: int = 100) -> dict[str, Any]:
    """Loading, restarting, and steps a second without and with a frame each."""
    race = Race(CONFIG)
    try:
        load = seconds(lambda: race.begin(track, reverse, 1, 0))
        restart = statistics.median(
            seconds(lambda: race.begin(track, reverse, 1, 0)) for _ in range(3)
        )
        forward = Controls(acceleration=1.0)
        bare = seconds(lambda: [race.step(forward) for _ in range(steps)])
        race.begin(track, reverse, 1, 0)
        race.image()
        drawn = seconds(lambda: [(race.step(forward), race.image()) for _ in range(steps)])
        return {
            "length_m": race.line.length,
            "load_s": load,
            "restart_s": restart,
            "steps_s": steps / bare,
            "frames_s": steps / drawn,
        }
    finally:
        race.close()


def ai_lap(track: str, reverse: bool, difficulty: int) -> tuple[float, bool]:
    """The built-in driver's lap in game seconds (nan: not within 5 minutes), without frames;
    and whether our own progress agrees with the game that the lap is done."""
    race = Race(replace(CONFIG, driver="ai", difficulty=difficulty))
    try:
        race.begin(track, reverse, 1, 0)
        progress = Progress(race.line, race.kart().location)
        for step in range(1, 3001):
            race.step(Controls())
            kart = race.kart()
            progress.update(kart.location)
            if kart.finished:
                return step * CONFIG.step_seconds, progress.best >= 0.98 * race.line.length
        return math.nan, False
    finally:
        race.close()


def table(tracks: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each track and direction, printed as it is measured."""
    rows = []
    print(_line((*COLUMNS, *AI_COLUMNS)), flush=True)
    for track in tracks:
        for reverse in (False, True):
            row: dict[str, Any] = {
                "track": track,
                "direction": "reverse" if reverse else "forward",
                **speed_of(track, reverse),
            }
            row["ai_0_s"], easy = ai_lap(track, reverse, 0)
            row["ai_2_s"], hard = ai_lap(track, reverse, 2)
            row["tracked"] = easy and hard
            print(_line(map(_text, row.values())), flush=True)
            rows.append(row)
    return rows


def _line(cells: Iterable[str]) -> str:
    track, *others = cells
    return " ".join([f"{track:<19}", *(f"{cell:>9}" for cell in others)])


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"
    return str(value)


def memory_growth(tracks: Sequence[str], resets: int) -> float:
    """Growth of this process's resident memory over resets, after every track was met once."""
    env = KartEnv(replace(CONFIG, track=tuple(tracks), direction="both"))
    process = psutil.Process()

    def reset(number: int) -> int:
        track = tracks[number % len(tracks)]
        env.reset(seed=number, options={"track": track, "reverse": number % 2 == 1})
        env.step([1, 1])
        return process.memory_info().rss

    try:
        first = [reset(number) for number in range(2 * len(tracks))]
        start = max(first[-len(tracks) :])
        print(f"after {len(first)} resets: {start / 1e6:.0f} MB")
        recent: list[int] = []
        for number in range(len(first), resets):
            recent = [*recent, reset(number)][-len(tracks) :]
            if number % 50 == 49:
                print(f"after {number + 1} resets: {recent[-1] / 1e6:.0f} MB", flush=True)
    finally:
        env.close()
    growth = max(recent) / start - 1
    print(f"largest of the last {len(recent)} after {resets} resets: {max(recent) / 1e6:.0f} MB")
    print(f"growth: {growth:.1%}")
    return growth


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tracks", nargs="+", default=list(catalogue.race_tracks()))
    parser.add_argument("--resets", type=int, default=0, help="measure memory instead")
    parser.add_argument("--json", type=Path, help="where to write the table")
    arguments = parser.parse_args()
    for track in arguments.tracks:
        catalogue.check_track(track, reverse=True)
    if arguments.resets:
        sys.exit(memory_growth(arguments.tracks, arguments.resets) >= 0.1)
    rows = table(arguments.tracks)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
