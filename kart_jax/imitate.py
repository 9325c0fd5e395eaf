"""`python -m kart_jax.imitate`: learn to drive from a teacher that knows where the road is.

What `python -m kart_jax.train --imitation-steps N` begins with, by itself. With `--init-from` it
continues from another policy, which drives from the first round on.
"""

import sys
from collections.abc import Sequence

from kart_jax.cli.command import UNFINISHED, command, command_line
from kart_jax.cli.options import parse_all
from kart_jax.game.engine.catalogue import check_installed
from kart_jax.imitation.stage import imitate
from kart_jax.run_folder.folder import open_run
from kart_jax.run_folder.source import load_start, load_teacher, policy_spec
from kart_jax.training.devices import prepare_jax
from kart_jax.training.signals import Interrupted, StopRequest
from kart_jax.validation import check


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Imitate as the command line, which is that of `train`, says; so is the exit status."""
    config, cluster = parse_all(arguments, "imitate")
    steps = config.imitation.imitation_steps
    check(steps > 0, "imitation_steps", steps, "more than 0, such as --imitation-steps 40000")
    check(not cluster.distributed, "distributed", True, "False: one process imitates")
    check_installed(config.race)
    prepare_jax()
    spec = policy_spec(config)
    load_teacher(config, spec)
    start = load_start(config)
    with open_run(config) as run_dir, StopRequest(config.run.grace) as stop:
        try:
            imitate(config, spec, run_dir, stop, start=start)
        except Interrupted:
            print(command_line("kart_jax.imitate", "--resume", "--run-dir", run_dir))
            return UNFINISHED
        print(command_line("kart_jax.play", run_dir, "--episodes", 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
