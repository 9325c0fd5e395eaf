"""`python -m kart_jax.data`: find or fetch the game's data, and print where it is."""

import argparse
import sys
from collections.abc import Sequence

from kart_jax.cli.command import command, program
from kart_jax.game.engine.data import ensure_data


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder that SUPERTUXKART_DATADIR should name; the status is 1 if there is none."""
    argparse.ArgumentParser(prog=program("data"), description=__doc__).parse_args(arguments)
    print(ensure_data())
    return 0


if __name__ == "__main__":
    sys.exit(main())
