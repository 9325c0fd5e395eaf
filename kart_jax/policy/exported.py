"""A policy as one folder of plain files, to share: weights, configuration, StableHLO.

policy.json        what it is made of, and the configuration that trained it
weights.npz        the network's variables by their path, such as `params/stem/conv/kernel`
policy.stablehlo   (weights, observation) -> (actions, values), for `jax.export`; without values
                   where the critic sees more than the actor
README.md          how to use them
"""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from kart_jax.policy.observation import FRAMES, STATE
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.validation import UserError

CARD = "policy.json"
WEIGHTS = "weights.npz"
PROGRAM = "policy.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")

README = """\
# A policy that races SuperTuxKart

Trained by kart_jax on {tracks}, {training}.
`policy.json` has the whole configuration.

With kart_jax: `kart_jax.load_policy(folder).act({actor})`, or `python -m kart_jax.play folder`.

Without it (`pip install jax flatbuffers`):

```python
from pathlib import Path
import numpy as np
from jax import export

policy = export.deserialize(bytearray(Path("policy.stablehlo").read_bytes()))
weights = dict(np.load("weights.npz"))
{actor} = np.zeros((1, {shape}), np.{dtype})
{outputs} = policy.call(weights, {actor})
```

{about}, one every {seconds:g} s of game time. `actions` are
the most probable ones: {actions}.
"""

ABOUT = {
    FRAMES: "`frames` are uint8 (batch, time, height, width, channels), the oldest frame first",
    STATE: "`state` is float32 (batch, numbers), as docs/environment.md lists them",
}


def write_policy(
    folder: Path,
    spec: PolicySpec,
    variables: Any,
    config: dict[str, Any],
    step: int,
    imitated: int = 0,
    reward_scale: dict[str, float] | None = None,
) -> None:
    """Write a policy's files to an existing folder.

    Args:
        folder: where to.
        spec: what it is made of.
        variables: its network's variables.
        config: the configuration that trained it, as plain values, by part.
        step: policy steps of PPO.
        imitated: policy steps of imitation before those.
        reward_scale: what the rewards were divided by, for a run that begins with the policy.
    """
    imitation = config.get("imitation", {})
    teacher = Path(imitation.get("teacher", "guide")).name
    training = describe_training(step, imitated, config["run"]["init_from"] is not None, teacher)
    # Paths of the machine that trained it are of no use to those who get the folder.
    config = {
        **config,
        "run": {**config["run"], "run_dir": None, "init_from": None},
        "imitation": {**imitation, "teacher": teacher},
    }
    card = {"step": step, "imitated": imitated, "policy": spec.to_dict(), "config": config}
    card |= {"reward_scale": reward_scale}
    weights = {name: np.asarray(x) for name, x in flatten_dict(variables, sep="/").items()}
    race, seen = config["race"], spec.example()[spec.network.actor]
    outputs = "actions, values" if spec.network.critic == spec.network.actor else "[actions]"
    readme = README.format(
        tracks=", ".join(race["track"]),
        training=training,
        actor=spec.network.actor,
        about=ABOUT[spec.network.actor],
        shape=", ".join(map(str, seen.shape[1:])),
        dtype=seen.dtype,
        outputs=outputs,
        seconds=race["step_seconds"] * race["action_repeat"],
        actions=f"action set `{race['action_set']}`, {spec.actions.kind} {spec.actions.shape}",
    )
    program = _program(spec, weights)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    np.savez(folder / WEIGHTS, allow_pickle=False, **weights)
    (folder / PROGRAM).write_bytes(program)
    (folder / "README.md").write_text(readme, encoding="utf-8")


def describe_training(step: int, imitated: int, begun: bool, teacher: str = "guide") -> str:
    """Say what a policy learnt from; `begun`: it began with the weights of another one."""
    since = ", from another policy on" * begun
    if not imitated:
        return f"by PPO for {step:,} steps{since}"
    guided = f"by imitation of the {teacher} for {imitated:,} steps"
    return (f"{guided}, then by PPO for {step:,}" if step else f"{guided} alone") + since


def _program(spec: PolicySpec, weights: dict[str, np.ndarray]) -> bytes:
    """Serialised StableHLO for any batch size on any of `PLATFORMS`."""

    actor = spec.network.actor
    has_value = spec.network.critic == actor

    def call(weights: dict[str, jax.Array], observation: jax.Array) -> tuple[jax.Array, ...]:
        variables = unflatten_dict(weights, sep="/")
        seen: Any = {actor: observation}
        outputs: Any = spec.module().apply(variables, critic=has_value, **seen)
        logits, values = outputs
        actions = spec.actions.clip(spec.actions.distribution.mode(logits))
        return (actions, values) if has_value else (actions,)

    batch = jax.export.symbolic_shape("batch", constraints=["batch >= 1"])
    seen = spec.example()[actor]
    observation = jax.ShapeDtypeStruct((*batch, *seen.shape[1:]), seen.dtype)
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in weights.items()}
    flag = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, flag)
    jax.config.update(flag, ".*/")  # so that the program names no folders of this machine
    try:
        exported = jax.export.export(jax.jit(call), platforms=PLATFORMS)(shapes, observation)
    finally:
        jax.config.update(flag, before)
    return bytes(exported.serialize())


def is_exported(folder: Path) -> bool:
    """Return whether `write_policy` wrote to this folder."""
    return (folder / CARD).is_file()


def read_policy(folder: Path) -> Policy:
    """Read the policy that `write_policy` wrote.

    Raises:
        ValueError: its files are damaged or of another version.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        spec = PolicySpec.from_dict(card["policy"])
        with (folder / WEIGHTS).open("rb") as file, np.load(file) as weights:
            variables = unflatten_dict(dict(weights), sep="/")
        shapes = jax.tree.map(jnp.shape, variables), jax.tree.map(jnp.shape, spec.template())
    except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise UserError(f"{folder} holds no whole policy: {error}") from error
    if shapes[0] != shapes[1]:
        raise UserError(f"{folder / WEIGHTS} does not fit {folder / CARD}")
    return Policy(spec, variables, card["config"]["race"], card.get("reward_scale"))
