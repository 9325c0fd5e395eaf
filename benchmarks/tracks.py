"""Every race track, in both directions: does it load, how fast is it, how fast is the AI?

    python -m benchmarks.tracks [--tracks mines abyss]
    python -m benchmarks.tracks --resets 500

The first prints a table, each track and direction in processes of its own. The second changes
the track at each of so many resets in one process and prints how its resident memory grew, exit
status 1 if by 10% or more.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import psutil

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls
from kart_jax.game.centreline import Progress
from kart_jax.game.engine import catalogue
from kart_jax.game.engine.race import Race
from kart_jax.game.env import KartEnv
from kart_jax.game.labels import label_pixels

CONFIG = RaceConfig(action_set="drive", stuck_seconds=1e4, wrong_way_seconds=1e4, time_limit=1e4)
STEPS = 100
"""Of each measurement of speed."""
TRIES = 3
"""Processes that may crash before a part of a row is left out."""


def seconds(action: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def label(race: Race) -> None:
    """Draw a frame, and label its pixels."""
    race.image()
    label_pixels(race.view().points(), race.line, race.items(), race.bodies())


def speed_of(track: str, reverse: bool) -> dict[str, Any]:
    """Loading, restarting, and steps a second: without a frame, with one, with labels too."""
    race = Race(CONFIG)
    try:
        load = seconds(lambda: race.begin(track, reverse, 1, 0))
        restart = statistics.median(
            seconds(lambda: race.begin(track, reverse, 1, 0)) for _ in range(3)
        )
        forward = Controls(acceleration=1.0)
        bare = seconds(lambda: [race.step(forward) for _ in range(STEPS)])
        race.begin(track, reverse, 1, 0)
        race.image()
        drawn = seconds(lambda: [(race.step(forward), race.image()) for _ in range(STEPS)])
        race.begin(track, reverse, 1, 0)
        labelled = seconds(lambda: [(race.step(forward), label(race)) for _ in range(STEPS)])
        return {
            "length_m": race.line.length,
            "load_s": load,
            "restart_s": restart,
            "steps_s": STEPS / bare,
            "frames_s": STEPS / drawn,
            "labels_s": STEPS / labelled,
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


def ai_laps(track: str, reverse: bool) -> dict[str, Any]:
    """Those of two difficulties."""
    (easy, tracked), (hard, tracked_too) = (ai_lap(track, reverse, d) for d in (0, 2))
    return {"ai_0_s": easy, "ai_2_s": hard, "tracked": tracked and tracked_too}


def measure(track: str, reverse: bool) -> dict[str, Any]:
    """A row of the table; with how often the game crashed, as it may."""
    row: dict[str, Any] = {"track": track, "direction": "reverse" if reverse else "forward"}
    print(*row.values(), file=sys.stderr, flush=True)
    crashes = 0
    for part in (speed_of, ai_laps):
        for _ in range(TRIES):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                try:
                    row |= pool.submit(part, track, reverse).result()
                    break
                except BrokenProcessPool:
                    crashes += 1
    return row | {"crashes": crashes}


def memory_growth(tracks: Sequence[str], resets: int) -> float:
    """Growth of this process's resident memory over resets, once all was met in both directions."""
    env = KartEnv(replace(CONFIG, track=tuple(tracks), direction="both"))
    process = psutil.Process()

    def reset(number: int) -> int:
        turn, place = divmod(number, len(tracks))
        env.reset(seed=number, options={"track": tracks[place], "reverse": turn % 2 == 1})
        env.step([1, 1])
        return process.memory_info().rss

    try:
        first = [reset(number) for number in range(2 * len(tracks))]
        start = max(first[-len(tracks) :])
        rows = [{"resets": len(first), "resident MB": start / 1e6, "growth": 0.0}]
        recent: list[int] = []
        for number in range(len(first), resets):
            recent = [*recent, reset(number)][-len(tracks) :]
            if (number + 1) % 50 == 0 or number + 1 == resets:
                largest = max(recent)
                growth = largest / start - 1
                rows.append({"resets": number + 1, "resident MB": largest / 1e6, "growth": growth})
    finally:
        env.close()
    notes = [
        f"{len(tracks)} tracks, another one at each reset, in both directions: {' '.join(tracks)}",
        "the largest of as many resets, against that once all was met in both directions",
    ]
    report("tracks-memory", rows, notes)
    return growth


def main() -> None:
    """Read the command line and measure."""
    parser = make_parser("tracks", __doc__)
    parser.add_argument("--tracks", nargs="+", default=list(catalogue.race_tracks()))
    parser.add_argument("--resets", type=int, default=0, help="measure memory instead")
    arguments = parser.parse_args()
    with one_line_errors():
        write_to(arguments.json)
        for track in arguments.tracks:
            catalogue.check_track(track, reverse=True)
    if arguments.resets:
        if arguments.resets <= 2 * len(arguments.tracks):
            parser.error("--resets must be more than two for each track")
        sys.exit(memory_growth(arguments.tracks, arguments.resets) >= 0.1)
    rows = [measure(t, reverse) for t in arguments.tracks for reverse in (False, True)]
    report("tracks", rows, ["ai_0_s, ai_2_s: game seconds of a lap at difficulty 0 and 2"])


if __name__ == "__main__":
    main()
