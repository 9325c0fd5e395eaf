"""What the command lines of benchmarks share."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kart_jax.cli.command import TRACEBACK, describe


def make_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m benchmarks.NAME`, with the option that all benchmarks have.

    What `--json` names goes to `benchmarks.report.write_to`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        allow_abbrev=False,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", type=Path, help="write all of this run to this file, not to benchmarks/results/"
    )
    return parser


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program, where a value is wrong or something cannot run, as our commands end."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if os.environ.get(TRACEBACK):
            raise
        raise SystemExit(f"error: {describe(error)}") from None
