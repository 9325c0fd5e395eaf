"""How much memory does training the reference preset take? Nothing is run, only compiled.

    python -m benchmarks.memory [--batches 1 2 4] [--microbatch 4] [--platform cpu|gpu|tpu]

Compiles PPO's gradient step (gradient, clipping and Adam) at full size and prints the compiler's
own analysis. A minibatch is one step of as many environments. `arguments` are the parameters,
Adam's state and the rollout of all environments; `total` is all that the device holds at once;
`per_observation` is what one more environment costs, from the row before. For a TPU it compiles
ahead of time, which needs the `libtpu` package and takes minutes. The figures are that compiler's;
another one's differ.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import report, write_to
from kart_jax.config import PRESETS, TrainConfig
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO, Batch, Schedules, TrainState
from kart_jax.run_folder.source import policy_spec

GIGA = 1e9


def device_for(platform: str, topology: str) -> jax.Device:
    """A device to compile for; of a TPU only its description is needed."""
    if platform == "tpu":
        from jax.experimental import topologies

        return topologies.get_topology_desc(topology, platform="tpu").devices[0]
    return jax.devices(platform)[0]


class GradientStep:
    """PPO's gradient step of a run's configuration, on `batch` observations in one minibatch."""

    def __init__(self, config: TrainConfig, batch: int, microbatch: int | None) -> None:
        self.batch = batch
        spec = policy_spec(config)
        agent, self.example = Agent.of(spec), spec.example()
        length = config.ppo.rollout_length
        self.ppo = PPO(agent, replace(config.ppo, minibatches=length, microbatch=microbatch))

    def arguments(self) -> tuple[TrainState, Batch, Schedules]:
        """Return what it is called with: a new network, and a rollout of random frames."""
        config, agent, key = self.ppo.config, self.ppo.agent, jax.random.key(0)
        length = config.rollout_length
        noise = jax.random.normal(key, (length, self.batch))
        order = jnp.zeros((config.epochs, self.batch, length), jnp.int32)
        rollout = agent.create_rollout(jnp.arange(self.batch), length)
        if rollout.frames is not None:
            frames = jax.random.bits(key, rollout.frames.shape, jnp.uint8)
            ages = jnp.full_like(rollout.ages, rollout.stack - 1)
            rollout = replace(rollout, frames=frames, ages=ages)
        state = self.ppo.create(key, self.example)
        schedules = {name: jnp.float32(x) for name, x in self.ppo.schedules(0, 1).items()}
        return state, Batch(rollout, noise, noise, order), Schedules(**schedules)

    def compile(self, device: jax.Device) -> Any:
        """Return the program for a device, which consumes the state; nothing is run."""
        one = NamedSharding(Mesh([device], ("device",)), PartitionSpec())
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one),
            jax.eval_shape(self.arguments),
        )
        return jax.jit(self.ppo.gradient_step, donate_argnums=0).lower(*shapes).compile()


def sizes_gb(compiled: Any) -> dict[str, float]:
    """Return the compiler's analysis of a program's memory."""
    sizes = compiled.memory_analysis()
    held = sizes.argument_size_in_bytes
    new = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    temporary = sizes.temp_size_in_bytes
    return {
        "arguments_gb": held / GIGA,
        "temporary_gb": temporary / GIGA,
        "total_gb": (held + new + temporary) / GIGA,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, print and write the analysis."""
    parser = make_parser("memory", __doc__)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--microbatch", type=int, help="observations at once; default: all")
    parser.add_argument("--platform", choices=["cpu", "gpu", "tpu"], default=jax.default_backend())
    parser.add_argument("--topology", default="v5p:2x2x1", help="of the TPU to compile for")
    options = parser.parse_args(arguments)
    with one_line_errors():
        write_to(options.json)
    device = device_for(options.platform, options.topology)
    rows: list[dict[str, Any]] = []
    row: dict[str, Any]
    for batch in options.batches:
        step = GradientStep(PRESETS["reference"], batch, options.microbatch)
        row = {"minibatch": batch, "at once": options.microbatch or batch}
        row |= sizes_gb(step.compile(device))
        if rows:
            more = row["total_gb"] - rows[-1]["total_gb"]
            row["per_observation_gb"] = more / (batch - rows[-1]["minibatch"])
        rows.append(row)
    report("memory", rows, [f"compiled for {device.device_kind}"])


if __name__ == "__main__":
    main()
