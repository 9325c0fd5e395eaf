"""Kill a short run on the fake game again and again: does it end as an undisturbed one does?

    python -m benchmarks.soak --kills 50

Every process is ended by SIGKILL at a random moment: while it starts, collects, learns or
saves. The last one is left alone. Exits with 1 unless the parameters and everything logged
on the way are the same, bit for bit.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kart_jax import checkpoints
from tests.tiny_run import STEPS_PER_UPDATE, arguments, assert_same_run, finish, start


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
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["same"] else 1


def soak(folder: Path, kills: int, updates: int, moments: random.Random) -> dict[str, object]:
    """Run undisturbed, then with so many kills; what came of it."""
    often = ("--checkpoint-steps", str(5 * STEPS_PER_UPDATE))
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    started = time.monotonic()
    assert finish(start(arguments(undisturbed, updates, *often)), timeout=3600) == ""
    seconds = time.monotonic() - started
    reached = []
    for number in range(kills):
        process = launch(killed, updates, often)
        try:
            process.wait(moments.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
        finish(process)
        reached.append((checkpoints.steps(killed / "checkpoints") or [0])[-1])
        print(f"kill {number + 1}/{kills}: {reached[-1]} steps saved", file=sys.stderr, flush=True)
    output = finish(launch(killed, updates, often), timeout=3600)
    try:
        assert_same_run(killed, undisturbed)
        difference = None
    except AssertionError as error:
        difference = str(error)
    return {
        "kills": kills,
        "steps": updates * STEPS_PER_UPDATE,
        "steps_saved_at_each_kill": reached,
        "warnings": output.count("passed over"),
        "same": difference is None,
        "difference": difference,
    }


def launch(run_dir: Path, updates: int, options: tuple[str, ...]) -> subprocess.Popen[str]:
    """Begin the run, or go on with it."""
    if (run_dir / "config.json").exists():
        return start(["--resume", "--run-dir", str(run_dir)])
    return start(arguments(run_dir, updates, *options))


if __name__ == "__main__":
    sys.exit(main())
