"""Kill a short run on the fake game again and again: does it end as an undisturbed one does?

    python -m benchmarks.soak --kills 50

Every process is ended by SIGKILL at a random moment: one in four while it starts, the others
while they collect, learn or save. The last one is left alone. Exits with 1 unless all kills hit a
run that was still at work, and the parameters and everything logged on the way are those of the
undisturbed run, bit for bit.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tiny_runs import (
    STEPS_PER_UPDATE,
    arguments,
    assert_same_run,
    finish,
    start,
    wait_for_updates,
)
from kart_jax.run_folder import checkpoints


def main() -> int:
    """Print what came of it; 0 if both runs are the same."""
    parser = argparse.ArgumentParser(description="Kill a run again and again.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), options.kills, options.updates, random.Random(options.seed))
    print(json.dumps(result))
    what = "the parameters of the undisturbed run" if result["same"] else "other parameters or logs"
    print(f"killed {result['kills']} times, it finished with {what}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["same"] and result["kills"] == options.kills else 1


def soak(folder: Path, kills: int, updates: int, moments: random.Random) -> dict[str, object]:
    """Run undisturbed, then with so many kills; what came of it."""
    often = ("--checkpoint-steps", str(5 * STEPS_PER_UPDATE))
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    began = time.monotonic()
    process = start(arguments(undisturbed, updates, *often))
    wait_for_updates(process, undisturbed, 1)
    starting = time.monotonic() - began
    assert finish(process, timeout=3600) == ""
    learning = time.monotonic() - began - starting
    reached: list[int] = []
    while len(reached) < kills:
        log = Log(killed)
        process = launch(killed, updates, often)
        if moments.random() < 0.25:
            wait(process, moments.uniform(0, starting))
        else:
            log.wait_until_written(process)
            done = (reached or [0])[-1] / (updates * STEPS_PER_UPDATE)
            share = 2 * (1 - done) / (kills - len(reached) + 1)  # leaves some for the other kills
            wait(process, moments.uniform(0, share * learning))
        at_work = process.poll() is None
        process.kill()
        output = finish(process)
        if not at_work:
            assert process.returncode == 0, output
            break
        reached.append((checkpoints.steps(killed / "checkpoints") or [0])[-1])
        told = f"kill {len(reached)}/{kills}: {reached[-1]} steps saved"
        print(told, file=sys.stderr, flush=True)
    output = finish(launch(killed, updates, often), timeout=3600)
    try:
        assert_same_run(killed, undisturbed)
        difference = None
    except AssertionError as error:
        difference = str(error)
    return {
        "kills": len(reached),
        "steps": updates * STEPS_PER_UPDATE,
        "steps_saved_at_each_kill": reached,
        "warnings": output.count("damaged: skipped"),
        "same": difference is None,
        "difference": difference,
    }


class Log:
    """A run's log, to see when the run is past its start."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "metrics.jsonl"
        self._before = self._state()

    def _state(self) -> tuple[int, int] | None:
        if not self._path.exists():
            return None
        stat = self._path.stat()
        return stat.st_ino, stat.st_size

    def wait_until_written(self, process: subprocess.Popen[str]) -> None:
        """Wait until the process has cut it back or written to it, or has ended."""
        while process.poll() is None and self._state() == self._before:
            time.sleep(0.01)


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait so long, or until the process ends."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def launch(run_dir: Path, updates: int, options: tuple[str, ...]) -> subprocess.Popen[str]:
    """Begin the run, or go on with it."""
    if (run_dir / "config.json").exists():
        return start(["--resume", "--run-dir", str(run_dir)])
    return start(arguments(run_dir, updates, *options))


if __name__ == "__main__":
    sys.exit(main())
