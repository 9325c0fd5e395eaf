"""What all commands share: how they end where something is amiss."""

import functools
import logging
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kart_jax.validation import check

CLOSED_PIPE = 128 + signal.SIGPIPE
INTERRUPTED = 128 + signal.SIGINT
UNFINISHED = os.EX_TEMPFAIL
"""75: a run was asked to stop before its end, and `--resume` goes on with it. Schedulers tell by
it that a run is not done; it is the same whichever signal asked, and in every process."""


class Main(Protocol):
    """A command: takes its command line, or that of the process, and gives the exit status."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Do what the command line says."""


def command(main: Main) -> Main:
    """Let a command end as all do.

    What a user can cause is one line on stderr and status 1; `KART_JAX_TRACEBACK=1` shows where
    it was raised. Ctrl-C, and a reader who leaves, as `| head` does, end it without a word.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
        try:
            try:
                return main(arguments)
            finally:
                sys.stdout.flush()  # here, where a closed pipe is caught
        except KeyboardInterrupt:
            return INTERRUPTED
        except (ValueError, RuntimeError, OSError) as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                # Python flushes once more when it leaves.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return CLOSED_PIPE
            if os.environ.get("KART_JAX_TRACEBACK"):
                raise
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


def _reader_left() -> bool:
    """Whether nobody reads what this process prints any more: other pipes can break, too."""
    outputs = select.poll()
    for descriptor in (1, 2):
        outputs.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def interpreter() -> str:
    """What the user types for this Python: its path, unless `python` means it."""
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "python"
    path = os.path.relpath(sys.executable)
    return sys.executable if path.startswith("..") else path


def check_output(field: str, path: Path | None) -> None:
    """Refuse a file that could not be written in the end; None is none.

    Raises:
        ValueError: names the field and the path.
    """
    if path is not None:
        folder = path.absolute().parent
        fits = folder.is_dir() and os.access(folder, os.W_OK) and not path.is_dir()
        check(fits, field, str(path), "a file in a folder that exists and can be written")
