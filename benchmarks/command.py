"""What the command lines of benchmarks share."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """End the program with one line where a value is wrong or something cannot run."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from None
