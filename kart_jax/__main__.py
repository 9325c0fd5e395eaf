"""`python -m kart_jax`, or `kart-jax`: list the commands, or start one."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from kart_jax.cli.command import command, program

COMMANDS = {
    "train": "train a policy, from an empty folder or from where it stopped.",
    "imitate": "learn to drive from a teacher that knows where the road is.",
    "play": "drive episodes with a policy, at random, or by the game's AI.",
    "evaluate": "measure how well a policy races, beside the game's AI and others.",
    "report": "show how a policy learnt and drives, on one page for a browser.",
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
    """Start the command that is named first, or print all of them, a line each."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in COMMANDS:
        status: int = import_module(f"kart_jax.{words[0]}").main(words[1:])
        return status
    parser = argparse.ArgumentParser(
        prog=program(),
        usage=f"{program('COMMAND')} [--help]",
        description="\n".join(["Commands:", *(f"  {n:10}{does}" for n, does in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(words)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
