"""Processes of this Python that run one function of this package, and nothing of its caller."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO


def start_child(
    module: str,
    arguments: Sequence[object],
    *,
    output: int | IO[bytes],
    pass_fds: Sequence[int],
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that runs `main()` of a module, with `arguments` in its `sys.argv`.

    Not by `multiprocessing`, whose child runs the caller's main module again: a script that starts
    something at its top level would start it once more, and one from standard input cannot be run.
    The terminal's Ctrl-C is not for the child.
    """
    path = [folder or os.getcwd() for folder in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {module} import main; main()", *map(str, arguments)],
        env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(path)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        process_group=0,
    )
