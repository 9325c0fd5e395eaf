"""How fast is the network, beside PyTorch and beside plain `flax.linen.Conv`?

    python -m benchmarks.network [--sizes cpu small middle] [--batches 1 8 64] [--norm batch]

Times are the best of several runs, in milliseconds, forward and forward with backward, in float32.
Everything is measured in turns in one process; ratios count, not the times. `in parts` is our
backward pass of 8 observations at once, as `--microbatch 8` does it in training. PyTorch gets as
many threads as there are cores, which `taskset` limits for both. On a busy machine, where threads
wait for each other, `taskset -c 0` with `--cpu-time` compares what each side itself computes.
Accelerators have a command of their own, `python -m benchmarks.accelerator`.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.policy import network as network_module
from kart_jax.policy.config import CPU, NetworkConfig, Norm
from kart_jax.policy.convolution import native
from kart_jax.policy.network import ActorCritic
from kart_jax.training.devices import prepare_jax

OUTPUTS = 15
PART = 8
MIDDLE = dataclasses.replace(CPU, blocks=(1, 2), stem_stride=(2, 2, 2))
SIZES: dict[str, tuple[NetworkConfig, tuple[int, int, int, int]]] = {
    "cpu": (CPU, (5, 72, 96, 3)),
    "small": (CPU, (5, 48, 64, 1)),
    "middle": (MIDDLE, (5, 48, 64, 3)),
}
NORMS = get_args(Norm)
Row = dict[str, Any]
Best = Callable[[Callable[[], Any]], float]
"""What times a call, in milliseconds."""


def best_ms(
    call: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The fastest of the calls that fit in `seconds`, at least two, after one to warm up."""
    call()
    times: list[float] = []
    end = clock() + seconds
    while len(times) < 2 or clock() < end:
        start = clock()
        call()
        times.append(clock() - start)
    return 1e3 * min(times)


def measure_jax(
    config: NetworkConfig, frames: np.ndarray, best: Best, parts: int = 1
) -> tuple[float, float]:
    """Forward, and forward with backward, of one batch of uint8 frames `[B, T, H, W, C]`."""
    network = ActorCritic(config, OUTPUTS)
    x = jnp.array(frames)
    variables = jax.jit(network.init)(jax.random.key(0), x[:1])
    params = variables["params"]
    rest = {name: value for name, value in variables.items() if name != "params"}

    def loss(params: Any, x: jax.Array) -> jax.Array:
        logits, value = network.apply({**rest, "params": params}, x)
        return jnp.square(logits).sum() + jnp.square(value).sum()

    def gradient(params: Any, x: jax.Array) -> Any:
        split = x.reshape(parts, -1, *x.shape[1:])
        zeros = jax.tree.map(jnp.zeros_like, params)
        add = partial(jax.tree.map, jnp.add)
        return jax.lax.scan(lambda g, x: (add(g, jax.grad(loss)(params, x)), None), zeros, split)[0]

    forward = jax.jit(network.apply)
    backward = jax.jit(jax.grad(loss) if parts == 1 else gradient)
    return (
        best(lambda: jax.block_until_ready(forward(variables, x))),
        best(lambda: jax.block_until_ready(backward(params, x))),
    )


def measure_torch(config: NetworkConfig, frames: np.ndarray, best: Best) -> tuple[float, float]:
    """The same with PyTorch on as many cores; batch norm uses its running statistics too."""
    import torch

    from benchmarks.torch_network import TorchActorCritic

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = TorchActorCritic(config, OUTPUTS, frames.shape[1:]).eval()
    x = torch.from_numpy(frames)

    def forward() -> None:
        with torch.no_grad():
            network(x)

    def backward() -> None:
        network.zero_grad()
        logits, value = network(x)
        (logits.square().sum() + value.square().sum()).backward()

    return best(forward), best(backward)


def compare_on_cpu(size: str, norm: Norm | None, batch: int, best: Best) -> list[Row]:
    """Ours, ours in parts, PyTorch and XLA's own 3-D convolution on the same frames."""
    config, observation = SIZES[size]
    config = dataclasses.replace(config, norm=norm or config.norm)
    frames = np.random.default_rng(0).integers(0, 256, (batch, *observation), dtype=np.uint8)
    times = {"ours": measure_jax(config, frames, best)}
    if batch > PART:
        times["in parts"] = measure_jax(config, frames, best, batch // PART)
    times["torch"] = measure_torch(config, frames, best)
    with mock.patch.object(network_module, "conv3d", native):
        times["flax 3-D"] = measure_jax(config, frames, best)
    forward, backward = times["torch"]
    return [
        {
            "size": size,
            "norm": config.norm,
            "batch": batch,
            "network": name,
            "forward_ms": f,
            "backward_ms": b,
            "forward_to_torch": f / forward,
            "backward_to_torch": b / backward,
        }
        for name, (f, b) in times.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON."""
    parser = make_parser("network", __doc__)
    prepare_jax()
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["cpu", "middle"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--norm", choices=NORMS, help="by default the size's own")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--cpu-time", action="store_true", help="count this process's time alone")
    options = parser.parse_args(arguments)
    with one_line_errors():
        write_to(options.json)
    if jax.default_backend() != "cpu":
        raise SystemExit("error: this compares on CPUs; here: python -m benchmarks.accelerator")
    clock = time.process_time if options.cpu_time else time.perf_counter
    best = partial(best_ms, seconds=options.seconds, clock=clock)
    rows: list[Row] = []
    for size in options.sizes:
        for batch in options.batches:
            rows += compare_on_cpu(size, options.norm, batch, best)
    clocked = "of this process" if options.cpu_time else "by the clock"
    threads = len(os.sched_getaffinity(0))
    report("network", rows, [f"on {jax.devices()[0].device_kind}, {threads} threads, {clocked}"])


if __name__ == "__main__":
    main()
