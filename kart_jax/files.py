"""Files that are whole or not there at all, whenever the process is killed; paths of a user."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from kart_jax.validation import check


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step.

    Raises:
        OSError: it could not be written; what was there stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)  # the disk may be full of it
        raise


def expand_paths(config: Any) -> None:
    """Expand `~` to a home folder in the paths of a frozen dataclass.

    A shell expands it in `--run-dir ~/x`, but not in `--run-dir=~/x`, and never in a file.

    Raises:
        RuntimeError: there is no such user.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path):
            object.__setattr__(config, field.name, value.expanduser())
        elif isinstance(value, tuple):
            expanded = (x.expanduser() if isinstance(x, Path) else x for x in value)
            object.__setattr__(config, field.name, tuple(expanded))


def check_output(field: str, path: Path | None) -> None:
    """Refuse a file that could not be written in the end; None is none.

    Raises:
        ValueError: names the field and the path.
    """
    if path is not None:
        folder = path.absolute().parent
        fits = folder.is_dir() and os.access(folder, os.W_OK) and not path.is_dir()
        check(fits, field, str(path), "a file in a folder that exists and can be written")
