"""`python -m kart_jax.imitate`: learn to drive from a guide that knows where the road is.

What `python -m kart_jax.train --imitation-steps N` begins with, by itself: round by round the
policy drives, is told what the guide would have done, and learns from all that it was told.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from kart_jax.beginning import policy_spec
from kart_jax.checks import check
from kart_jax.cloning import Cloner, Samples
from kart_jax.commands import command
from kart_jax.config import TrainConfig, parse
from kart_jax.demonstrations import Demonstration, Demonstrator, GuidedEnv
from kart_jax.game import make_env
from kart_jax.game.catalogue import check_installed
from kart_jax.parallel import prepare_jax
from kart_jax.policy.exported import write_policy
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder import open_run
from kart_jax.stopping import Interrupted, StopRequest
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.vector_env import KartVectorEnv
from kart_jax.workers.worker import MakeEnv

FOLDER = "imitated"
"""In a run's folder: the policy that imitation made, as exported policies are."""
LOG = "imitation.jsonl"
"""In a run's folder: a line for each round."""
STAGE = 2**40
"""Stands for the policy steps that the seeds of a resumed run follow from."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Imitate as the command line, which is that of `train`, says."""
    config = parse(arguments, "python -m kart_jax.imitate")
    steps = config.imitation.imitation_steps
    check(steps > 0, "imitation_steps", steps, "more than 0, such as --imitation-steps 40000")
    check_installed(config.race)
    prepare_jax()
    try:
        with open_run(config) as run_dir, StopRequest() as stop:
            imitate(config, policy_spec(config), run_dir, stop)
    except Interrupted:
        return 0
    print(f"python -m kart_jax.play {run_dir / FOLDER} --episodes 3")
    return 0


def imitate(
    config: TrainConfig,
    spec: PolicySpec,
    run_dir: Path,
    stop: StopRequest,
    make: MakeEnv = make_env,
) -> Path:
    """Make a policy from what the guide tells, and write it to the run's folder.

    `make` makes the environments; they must have a guide.

    Returns:
        The exported policy's folder.

    Raises:
        Interrupted: a stop was asked for; nothing was written.
        WorkersLostError: the game cannot run.
    """
    options = config.imitation
    policy = Policy(spec, {}, config.to_dict()["race"])
    samples = Samples(config.race.stack)
    steps = options.round_gradient_steps
    all_steps = options.imitation_rounds * steps
    cloner = Cloner(spec, config.ppo, options.imitation_rate, all_steps, config.run.seed)
    seed = derive_seed(config.run.seed, STAGE)
    # Some end their first round later than others: all of it is to be the guide's.
    lead = 2 * options.round_steps // config.workers.num_envs
    make_guided = partial(GuidedEnv, make, lead, options.imitation_drift)

    def act(frames: NDArray[np.uint8]) -> NDArray[Any]:
        stop.check()
        return policy.act(frames)  # greedily: one random drift may end a race

    start = time.monotonic()
    (run_dir / LOG).unlink(missing_ok=True)  # of an earlier start, which was interrupted
    with KartVectorEnv(config.race, config.workers, seed, make_guided) as envs:
        with stop.interrupting():
            demonstrator = Demonstrator(envs, config.race.stack)
        for number in range(options.imitation_rounds):
            policy.variables = cloner.variables
            shown = demonstrator.drive(act, options.round_steps)
            samples.extend(shown)
            figures = cloner.learn(samples, options.imitation_batch, steps, stop.check)
            figures = {**_driven(shown), **figures, "steps": len(samples)}
            _tell(run_dir, config, number + 1, time.monotonic() - start, figures)
    return _write(run_dir, spec, jax.device_get(cloner.variables), config)


def _driven(shown: Sequence[Demonstration]) -> dict[str, float]:
    """How the episodes of a round went."""
    return {
        "episodes": len(shown),
        "guided": float(np.mean([one.guided for one in shown])),
        "finish_rate": float(np.mean([one.summary["finished"] for one in shown])),
        "progress_m": float(np.mean([one.summary["progress_m"] for one in shown])),
    }


def _tell(
    run_dir: Path, config: TrainConfig, number: int, seconds: float, figures: dict[str, float]
) -> None:
    """Log a round, and print it unless the run is quiet."""
    line = {"round": number, "seconds": round(seconds, 1), **figures}
    with (run_dir / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    if not config.run.quiet:
        print(
            f"imitation {number}/{config.imitation.imitation_rounds}: "
            f"{'the guide' if figures['guided'] > 0.5 else 'the policy'} drove "
            f"{figures['episodes']} episodes, {figures['progress_m']:.0f} m, "
            f"{figures['finish_rate']:.0%} finished; like the guide {figures['same']:.0%}; "
            f"{seconds:.0f} s",
            flush=True,
        )


def _write(run_dir: Path, spec: PolicySpec, variables: Any, config: TrainConfig) -> Path:
    """Export the policy to a folder that is whole or not there at all."""
    partly, folder = run_dir / f"{FOLDER}.partial", run_dir / FOLDER
    shutil.rmtree(partly, ignore_errors=True)
    partly.mkdir()
    write_policy(partly, spec, variables, config.to_dict(), config.imitation.imitation_steps)
    return partly.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
