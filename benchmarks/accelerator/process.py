"""A part in a process of its own: this side starts it and reads, the other one measures.

    python -m benchmarks.accelerator.process MODULE:FUNCTION [--small]

That process writes a line of JSON for each row, or for what kept it from more of them.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator
from typing import IO, Any

from benchmarks.accelerator.parts import Part
from kart_jax.validation import UserError

PATIENCE = 10.0
"""Seconds that a process may take to die."""
WORDS = 300
"""Characters of a reason."""
Row = dict[str, Any]


def run(part: Part, small: bool) -> Generator[Row | str, None, None]:
    """Yield the rows of a part as they come, and last, as text, what kept it from more."""
    command = [sys.executable, "-m", "benchmarks.accelerator.process", part.function]
    with tempfile.TemporaryFile("w+", errors="replace") as words:
        process = subprocess.Popen(
            [*command, *(["--small"] if small else [])],
            env=os.environ | part.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            start_new_session=True,
        )
        try:
            ended = yield from _answers(process, part.limit)
        finally:
            # Also what the process left behind: races, say.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # A process that hangs in a driver may not even die; it is left then.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        if ended and process.returncode:
            words.seek(0)
            said = words.read().strip().splitlines() or ["without a word"]
            yield f"failed: ended with status {process.returncode}: {said[-1][:WORDS]}"


def _answers(process: subprocess.Popen[str], limit: float) -> Generator[Row | str, None, bool]:
    """Yield what a process writes; return whether it ended within `limit` seconds by itself."""
    deadline = time.monotonic() + limit
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        while (line := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            yield json.loads(line)
        process.wait(PATIENCE)
        return True
    except (queue.Empty, subprocess.TimeoutExpired):
        yield f"stopped after {limit:g} s: what is not above is missing"
        return False


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def attempt(known: Row, measure: Any) -> Row:
    """Return the row `known` with what `measure()` finds, or with why it cannot.

    A case that fails, for want of memory say, costs itself alone.
    """
    try:
        return known | measure()
    except Exception as error:
        traceback.print_exc()
        return known | {"failed": reason(error)}


def reason(error: BaseException) -> str:
    """Return an error in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:WORDS]


def main(function: str, small: bool) -> None:
    """Run a part here, and write its rows."""
    # The game writes to stdout too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: Row | str) -> None:
        print(json.dumps(content), file=answers, flush=True)

    module, _, name = function.partition(":")
    try:
        for row in getattr(importlib.import_module(module), name)(small):
            answer(row)
    except UserError as error:
        answer(f"skipped: {error}")
    except Exception as error:
        traceback.print_exc()
        answer(f"failed: {reason(error)}")


if __name__ == "__main__":
    main(sys.argv[1], "--small" in sys.argv)
