"""How much faster is the lean scenery drawn than the full one, and how alike are they?

    python -m benchmarks.scenery [--tracks all] [--turns 10] [--frames 20] [--pictures FOLDER]

Two processes drive the same race by the game's own driver, in turns: one draws the full scenery,
one the lean one. Times are those of the processor, so that other work on the machine counts less.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls
from kart_jax.game.engine.catalogue import expand_tracks
from kart_jax.game.engine.race import Race

SIZES = ((48, 64), (96, 128))
CHANGED = 16
"""Of 255: a pixel is changed if one of its colours differs by more."""
EVERY = 5
"""Steps between two frames that are compared."""


def drive(connection: Connection, race: RaceConfig) -> None:
    """Drive in a process of its own: draw as many frames as asked, and tell how long it took."""
    game = Race(race)
    game.begin(race.track[0], reverse=False, place=1, seed=0)
    connection.send(None)
    while count := connection.recv():
        frames, start = [], time.process_time()
        for number in range(count):
            game.step(Controls())
            image = game.image()
            if number % EVERY == 0:
                frames.append(image)
        seconds = time.process_time() - start
        connection.send((seconds, np.array(frames), game.kart().location))
    game.close()


@contextmanager
def driving(track: str, height: int, width: int, scenery: Any) -> Iterator[Connection]:
    """Start such a process; yield what to ask it with."""
    race = RaceConfig(
        track=(track,), height=height, width=width, scenery=scenery, driver="ai", laps=10
    )
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=drive, args=(theirs, race))
    process.start()
    theirs.close()
    ours.recv()
    try:
        yield ours
    finally:
        ours.send(0)
        process.join()


def compare(
    track: str, height: int, width: int, turns: int, frames: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Compare a track's two versions; return a row, and the frame in the middle, full and lean."""
    results: list[list[tuple[float, np.ndarray, np.ndarray]]] = []
    with (
        driving(track, height, width, "full") as full,
        driving(track, height, width, "lean") as lean,
    ):
        for turn in range(turns):
            pair: list[Any] = [None, None]
            for place in (0, 1) if turn % 2 else (1, 0):
                side = (full, lean)[place]
                side.send(frames)
                pair[place] = side.recv()
            results.append(pair)
    seconds = np.array([[side[0] for side in pair] for pair in results]) / frames
    images = [np.concatenate([pair[side][1] for pair in results]) for side in (0, 1)]
    away = np.abs(images[0].astype(int) - images[1].astype(int))
    middle = len(images[0]) // 2
    return {
        "track": track,
        "size": f"{width} x {height}",
        "lean to full": float(median(seconds[:, 0] / seconds[:, 1])),
        "full ms": float(seconds[:, 0].mean() * 1e3),
        "lean ms": float(seconds[:, 1].mean() * 1e3),
        "difference": float(away.mean()),
        "changed": float((away.max(axis=-1) > CHANGED).mean()),
        "same states": all(np.array_equal(pair[0][2], pair[1][2]) for pair in results),
    }, np.concatenate([image[middle] for image in images], axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare tracks, print a table, write JSON."""
    parser = make_parser("scenery", __doc__)
    parser.add_argument("--tracks", nargs="+", default=["all"])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--frames", type=int, default=20, help="in each turn")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures, full beside lean")
    options = parser.parse_args(arguments)
    with one_line_errors():
        write_to(options.json)
        rows = list(compare_all(options))
    notes = [
        "lean to full: frames per second of one core, the median over turns",
        f"difference: mean over pixels and colours, of 255; changed: share of pixels with a colour "
        f"that differs by more than {CHANGED}",
    ]
    for height, width in SIZES:
        ratios = [one["lean to full"] for one in rows if one["size"] == f"{width} x {height}"]
        notes.append(f"median at {width} x {height}: {median(ratios):.2f} on {len(ratios)} tracks")
    report("scenery", rows, notes)


def compare_all(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each track and size; write the pictures."""
    for track in expand_tracks(options.tracks):
        for height, width in SIZES:
            row, picture = compare(track, height, width, options.turns, options.frames)
            if options.pictures:
                options.pictures.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(options.pictures / f"{track}-{width}.png")
            yield row


if __name__ == "__main__":
    main()
