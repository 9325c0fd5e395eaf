"""What all commands share: how they end after an error."""

import functools
import io
import logging
import os
import select
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

CLOSED_PIPE = 128 + signal.SIGPIPE
INTERRUPTED = 128 + signal.SIGINT
SCRIPT = "kart-jax"
"""The program that pip installs; `kart-jax play` is `python -m kart_jax.play`."""
TRACEBACK = "KART_JAX_TRACEBACK"
"""A variable: if set, errors show where they were raised."""
UNFINISHED = os.EX_TEMPFAIL
"""75: a run was stopped before its end, and `--resume` continues it. Schedulers see by it that a
run is not done; it is the same for every signal, and in every process."""


class Main(Protocol):
    """A command: takes its command line, or that of the process, and returns the exit status."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Do what the command line says."""


def command(main: Main) -> Main:
    """Wrap a command so that it ends as all do.

    What a user can cause is one line on stderr and status 1: errors of our own types, and those of
    the system. Others get a second line, since they may be faults of ours; for all of them
    `KART_JAX_TRACEBACK=1` shows where they were raised. Ctrl-C, and a reader who leaves, as
    `| head` does, end a command silently.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        open_closed_streams()
        print_any_character()
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
        try:
            try:
                return main(arguments)
            finally:
                sys.stdout.flush()  # here, where a closed pipe is caught
        except KeyboardInterrupt:
            return INTERRUPTED
        except (ValueError, RuntimeError, OSError, MemoryError) as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                discard_unwritten()
                return CLOSED_PIPE
            if os.environ.get(TRACEBACK):
                raise
            print(f"error: {describe(error)}", file=sys.stderr)
            discard_unwritten()
            return 1

    return run


def describe(error: Exception) -> str:
    """Return an error's text and, where it was not raised for the user, how to find its cause."""
    own = type(error).__module__.startswith("kart_jax.")
    if own or isinstance(error, OSError | MemoryError):
        return str(error)
    return (
        f"{type(error).__name__}: {error}\n"
        f"This may be a fault of kart_jax: with {TRACEBACK}=1 it shows where it was raised"
    )


def open_closed_streams() -> None:
    """Put the null device in place of standard streams that were closed before the start.

    Otherwise Python has none, and the next file that is opened gets their descriptor: what a
    library prints there would end up in that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def print_any_character() -> None:
    """Print a question mark where an output cannot take a character, rather than fail there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard_unwritten() -> None:
    """Put the null device in place of a standard output that cannot be written.

    Python flushes it once more when it leaves, and from 3.13 on ends with status 120 if it cannot.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_left() -> bool:
    """Whether nobody reads what this process prints any more: other pipes can break, too."""
    outputs = select.poll()
    for descriptor in (1, 2):
        outputs.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def interpreter() -> str:
    """Return what the user types for this Python: its path, unless `python` means it."""
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "python"
    path = os.path.relpath(sys.executable)
    return sys.executable if path.startswith("..") else path


def program(name: str = "") -> str:
    """Return what a user types for one of our commands, the way this process was started."""
    if Path(sys.argv[0]).name == SCRIPT:
        return f"{SCRIPT} {name}".rstrip()
    return f"python -m kart_jax.{name}".rstrip(".")


def command_line(module: str, *arguments: object) -> str:
    """Return what a user types to run a module with these arguments, quoted for a shell."""
    package, _, name = module.partition(".")
    if package == "kart_jax" and Path(sys.argv[0]).name == SCRIPT:
        return shlex.join([SCRIPT, name, *map(str, arguments)])
    return shlex.join([interpreter(), "-m", module, *map(str, arguments)])
