"""Does a policy in int8 choose as it did before, and is it faster?

    python -m benchmarks.int8 RUN [--stacks 400] [--batches 1 8 64] [--seconds 1]

Races the policy in the game, calibrates on some races and compares on others. `agree` is the part
of the stacks whose most probable action is the same, each component of it; `logits_error` the norm
of the difference over that of the policy's own logits. `ms` is the best time of `act` on a batch,
measured in turns in one process. On the CPU int8 convolutions are matrix products; the last rows
have XLA's own convolution instead.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain, count, islice
from typing import Any
from unittest import mock

import gymnasium
import jax
import numpy as np

from benchmarks.command import make_parser, one_line_errors
from benchmarks.network import best_ms
from benchmarks.report import report, write_to
from kart_jax import load_policy
from kart_jax.config import race_of
from kart_jax.evaluation.drivers import drive
from kart_jax.game import make_env
from kart_jax.policy import quantised
from kart_jax.policy.policy import Policy
from kart_jax.policy.quantised import int8_by_convolutions, quantise
from kart_jax.training.devices import prepare_jax


def record(env: gymnasium.Env[Any, Any], policy: Policy, stacks: int, seed: int) -> np.ndarray:
    """The first `[stacks, S, H, W, C]` that the policy sees in races from `seed` on."""
    steps = chain.from_iterable(drive(env, policy.act, seed + number) for number in count())
    return np.stack([step.seen["frames"] for step in islice(steps, stacks)])


def measure(
    policy: Policy, original: Policy, frames: np.ndarray, batches: Sequence[int], seconds: float
) -> list[dict[str, float]]:
    """Agreement with `original` on `frames [N, S, H, W, C]`, and times by batch size."""
    ours, theirs = (np.asarray(p.logits_and_values(frames)[0]) for p in (policy, original))
    same = policy.act(frames) == original.act(frames)
    agreement = {
        "agree": float(same.reshape(len(frames), -1).all(axis=1).mean()),
        "logits_error": float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
    }
    rows = []
    for batch in batches:
        some = np.resize(frames, (batch, *frames.shape[1:]))
        ms = best_ms(partial(policy.act, some), seconds)
        rows.append({"batch": batch, "ms": ms, **agreement})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Race, calibrate, compare, print and write the table."""
    parser = make_parser("int8", __doc__)
    parser.add_argument("policy", help="a run, a checkpoint, or a shipped policy's name")
    parser.add_argument("--stacks", type=int, default=400, help="to calibrate, and to compare, on")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    options = parser.parse_args(arguments)
    with one_line_errors():
        write_to(options.json)
    prepare_jax()

    policy = load_policy(options.policy)
    env = make_env(race_of(policy.race))
    calibration = record(env, policy, options.stacks, seed=0)
    frames = record(env, policy, options.stacks, seed=1_000_000)
    env.close()

    def rows_of(name: str, some: Policy) -> list[dict[str, Any]]:
        measured = measure(some, policy, frames, options.batches, options.seconds)
        return [{"arithmetic": name, **row} for row in measured]

    rows = rows_of(policy.spec.network.dtype, policy)
    own_ms = [row["ms"] for row in rows]
    rows += rows_of("int8", quantise(policy, calibration))
    with mock.patch.object(quantised, "int8_conv3d", int8_by_convolutions):
        rows += rows_of("int8, convolution", quantise(policy, calibration))
    for row, ms in zip(rows, own_ms * 3, strict=True):
        row["ms_to_own"] = row["ms"] / ms
    device = jax.devices()[0].device_kind
    note = f"{options.policy} on {device}; {len(calibration)} stacks calibrated, others compared"
    report("int8", rows, [note])


if __name__ == "__main__":
    main()
