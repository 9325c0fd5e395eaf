"""`python -m kart_jax`: list the commands."""

import argparse
import sys
from collections.abc import Sequence

from kart_jax.cli.command import command

COMMANDS = {
    "train": "train a policy, from an empty folder or from where it stopped.",
    "imitate": "learn to drive from a guide that knows where the road is.",
    "play": "drive episodes with a policy, at random, or by the game's AI.",
    "evaluate": "measure how well a policy races, beside the game's AI and others.",
    "saliency": "film where a policy looks while it drives.",
    "record": "save demonstrations of the game's AI or of a policy, in one file.",
    "runs": "list runs with their best metrics.",
    "plot": "draw learning curves of runs, and the driven lines of evaluations.",
    "export": "write a checkpoint's policy as a folder of plain files, to share.",
    "summary": "print a preset's network, layer by layer.",
    "doctor": "check a machine before training on it.",
    "data": "find or fetch the game's data, and print where it is.",
}
"""What each command does, as the docstring of its module begins."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the commands, a line each."""
    parser = argparse.ArgumentParser(
        prog="python -m kart_jax",
        usage="python -m kart_jax.COMMAND [--help]",
        description="\n".join(["Commands:", *(f"  {n:10}{does}" for n, does in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
