"""What a part of `benchmarks.accelerator` can run into, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from kart_jax.validation import UserError


def measures(small: bool) -> Iterator[dict[str, Any]]:
    """Words on stdout, as the game has them, are no rows."""
    print("hello from the game")
    os.system("echo and from its libraries")
    yield {"small": small, "value": 1.5}
    yield {"small": small, "value": float(os.environ["OF_THE_PART"])}


def crashes(small: bool) -> Iterator[dict[str, Any]]:
    yield {"value": 1}
    print("the driver is gone", file=sys.stderr, flush=True)
    os.abort()


def raises(small: bool) -> Iterator[dict[str, Any]]:
    yield {"value": 1}
    raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a long list of buffers")


def is_missing_something(small: bool) -> Iterator[dict[str, Any]]:
    yield from ()
    raise UserError("no game data")


def hangs(small: bool) -> Iterator[dict[str, Any]]:
    """With a process of its own, which ends too."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {"child": child.pid}
    time.sleep(600)
