"""Find or fetch the game's data, and print where it is: `python -m kart_jax.data`."""

import argparse
import sys

from kart_jax.game.data import ensure_data
from kart_jax.game.errors import DataError


def main() -> None:
    """Print the folder that SUPERTUXKART_DATADIR should name; exit with 1 if there is none."""
    argparse.ArgumentParser(prog="python -m kart_jax.data", description=__doc__).parse_args()
    try:
        print(ensure_data())
    except DataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
