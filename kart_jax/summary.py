"""`python -m kart_jax.summary --preset reference`: print a preset's network, layer by layer.

Nothing is allocated: shapes and parameters are those of the network traced abstractly.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

import flax.linen as nn
import jax
from rich.console import Console
from rich.table import Table

from kart_jax.cli.command import command, program
from kart_jax.config import PRESETS, preset_name
from kart_jax.game.actions import ACTION_SETS
from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.network import ActorCritic, Conv
from kart_jax.policy.observation import example


@dataclass(frozen=True)
class Layer:
    """One row of the summary: a layer, or `repeats` equal residual blocks."""

    name: str
    repeats: int
    output: tuple[int, ...]
    """Of one observation: `(T, H, W, C)`, or `(N,)` after flattening."""
    parameters: int
    """Of all repeats together."""
    multiply_adds: int
    """Of all repeats together, those with padding included, for one observation."""


Frames = tuple[int, int, int, int]
"""`(T, H, W, C)` of a frame stack."""


def layers(
    config: NetworkConfig, outputs: int, frames: Frames | None, state_size: int = 0
) -> list[Layer]:
    """Return the layers of `ActorCritic(config, outputs)` for one observation, in order."""
    shapes: dict[tuple[str, ...], tuple[int, ...]] = {}

    def record(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        y = next_call(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and isinstance(module, Conv | nn.Dense):
            # The convolutions of a block, or of a stage of them, are one row.
            path = module.path if isinstance(module, nn.Dense) else module.path[:1]
            shapes[path] = y.shape[1:]
        return y

    def init() -> Any:
        with nn.intercept_methods(record):
            network = ActorCritic(config, outputs)
            return network.init(jax.random.key(0), **example(frames, state_size))

    params = jax.eval_shape(init)["params"]
    repeats = {"early": config.blocks[0], "late": config.blocks[1]}
    rows = []
    for path, shape in shapes.items():
        own = reduce(getitem, path, params)
        parameters = sum(x.size for x in jax.tree.leaves(own))
        name = "/".join(path)
        operations = _multiply_adds(own, shape)
        rows.append(Layer(name, repeats.get(name, 1), shape, parameters, operations))
    return rows


def compiler_flops(
    config: NetworkConfig, outputs: int, frames: Frames | None, state_size: int = 0
) -> float:
    """Return the compiler's count for one observation's forward pass, in floating-point operations.

    It leaves out what meets padding and counts the blocks of a loop once.
    """
    network, seen = ActorCritic(config, outputs), example(frames, state_size)
    variables = jax.eval_shape(network.init, jax.random.key(0), **seen)
    cost: Any = jax.jit(network.apply).lower(variables, **seen).cost_analysis()
    return float(cost["flops"])


def _multiply_adds(params: Mapping[str, Any], output: tuple[int, ...]) -> int:
    """Positions of the output times the size of each kernel."""
    kernels = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "kernel"
    ]
    return math.prod(output[:-1]) * sum(kernels)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a preset."""
    parser = argparse.ArgumentParser(prog=program("summary"), description=__doc__)
    parser.add_argument("--preset", type=preset_name, choices=list(PRESETS), default="cpu")
    preset = PRESETS[parser.parse_args(arguments).preset]
    outputs = ActionSpec.from_space(ACTION_SETS[preset.race.action_set]().space).outputs
    seen = (preset.observation_shape, preset.state_size)
    rows = layers(preset.network, outputs, *seen)

    shapes = {name: x.shape[1:] for name, x in example(*seen).items()}
    about = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    table = Table("layer", "blocks", "output (T, H, W, C)", title=f"input {about}")
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for row in rows:
        sizes = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
        table.add_row(row.name, str(row.repeats), str(row.output), *sizes)
    totals = [sum(getattr(row, name) for row in rows) for name in ("parameters", "multiply_adds")]
    table.add_section()
    table.add_row("total", "", "", *(f"{total:,}" for total in totals))
    console = Console()
    console.print(table)
    flops = compiler_flops(preset.network, outputs, *seen)
    console.print(
        f"The compiler counts {flops / 2:,.0f} multiply-adds: without those that meet padding, "
        "and the blocks of a loop once."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
