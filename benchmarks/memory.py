"""How much memory does training the seed preset take? Nothing is run, only compiled.

    python -m benchmarks.memory [--batch 2] [--platform cpu|tpu] [--topology v5p:2x2x1]

Compiles the gradient of the network at full size and prints the compiler's own analysis. For a
TPU it compiles ahead of time, which needs the `libtpu` package and takes minutes. The figures are
that compiler's; another one's differ.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kart_jax.policy.config import SEED
from kart_jax.policy.network import ActorCritic

OBSERVATION = (5, 400, 600, 3)
GIGA = 1e9


def gradient(params: Any, rest: Any, frames: jax.Array) -> Any:
    """Gradients of a loss that reads logits and values, running norm statistics in use."""

    def loss(params: Any) -> jax.Array:
        logits, value = ActorCritic(SEED, 15).apply({**rest, "params": params}, frames)
        return jnp.square(logits).mean() + jnp.square(value).mean()

    return jax.grad(loss)(params)


def compile_for(platform: str, topology: str, batch: int) -> Any:
    """The compiled gradient of `batch` observations on one device."""
    if platform == "tpu":
        from jax.experimental import topologies

        devices = topologies.get_topology_desc(topology, platform="tpu").devices
    else:
        devices = jax.devices(platform)
    one = NamedSharding(Mesh(devices[:1], ("device",)), PartitionSpec())
    frames = jax.ShapeDtypeStruct((batch, *OBSERVATION), jnp.uint8, sharding=one)
    shapes = jax.eval_shape(ActorCritic(SEED, 15).init, jax.random.key(0), frames)
    variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)
    rest = {name: value for name, value in variables.items() if name != "params"}
    return jax.jit(gradient).lower(variables["params"], rest, frames).compile()


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile and print the analysis."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--platform", choices=["cpu", "gpu", "tpu"], default=jax.default_backend())
    parser.add_argument("--topology", default="v5p:2x2x1", help="of the TPU to compile for")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    analysis = compile_for(options.platform, options.topology, options.batch).memory_analysis()
    figures = {
        "compiler": options.topology if options.platform == "tpu" else options.platform,
        "batch": options.batch,
        "arguments_gb": analysis.argument_size_in_bytes / GIGA,
        "gradients_gb": analysis.output_size_in_bytes / GIGA,
        "temporary_gb": analysis.temp_size_in_bytes / GIGA,
        "temporary_gb_per_observation": analysis.temp_size_in_bytes / GIGA / options.batch,
    }
    for name, value in figures.items():
        print(f"{name:30} {value:.2f}" if isinstance(value, float) else f"{name:30} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
