"""`python -m kart_jax`: list the commands."""

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kart_jax.cli.command import command

COMMAND = re.compile(r"`python -m kart_jax\.(\w+)[^`]*`: (.+)")
"""How the docstring of a command's module begins."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the commands, a line each."""
    parser = argparse.ArgumentParser(
        prog="python -m kart_jax",
        usage="python -m kart_jax.COMMAND [--help]",
        description="\n".join(["Commands:", *(f"  {n:10}{does}" for n, does in list_commands())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    parser.print_help()
    return 0


def list_commands() -> Iterator[tuple[str, str]]:
    """The name of each command and what it does, read without importing it, and so JAX."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if match := COMMAND.match(docstring):
            yield match[1], match[2]


if __name__ == "__main__":
    sys.exit(main())
