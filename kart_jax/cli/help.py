"""What `python -m kart_jax.train --help` prints: the options used most; `--help-all`: all."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

ConfigFile = Annotated[
    Path | None,
    tyro.conf.arg(help="A config.json of an earlier run, edited or not, to start from."),
]
"""The type of `--config`."""
USED_MOST = {
    "run": (
        *("preset", "total_steps", "minutes", "seed", "run_dir", "resume", "init_from"),
        *("checkpoint_steps", "eval_steps", "eval_episodes", "stop_at_finish_rate"),
        *("video_steps", "wandb", "quiet"),
    ),
    "race": (
        *("track", "direction", "difficulty", "karts", "height", "width", "colour", "stack"),
        *("action_set", "reward", "reward_weights", "random_start", "time_limit"),
    ),
    "workers": ("num_envs",),
    "network": ("channels", "blocks", "norm", "dtype"),
    "imitation": ("imitation_steps",),
    "ppo": (
        *("rollout_length", "epochs", "minibatches", "discount", "learning_rate", "clip_range"),
        *("entropy_coefficient", "normalise_rewards", "random_shift", "overlap"),
    ),
}
"""Fields of each part that `--help` shows."""


def print_help(options: Mapping[str, Any], everything: bool, program: str) -> None:
    """Print the options of some parts, each of them a dataclass with the defaults, by name."""
    parts: dict[str, Any] = {}
    values, count = {}, 0
    for part, value in options.items():
        shown = [f.name for f in dataclasses.fields(value)]
        count += len(shown)
        if not everything:
            shown = list(USED_MOST.get(part, ()))
        parts[part] = _described(type(value), shown)
        values[part] = parts[part](**vars(value))
    parts["config"] = ConfigFile
    fields: list[Any] = [(*part, dataclasses.field(default=None)) for part in parts.items()]
    command_line = dataclasses.make_dataclass("CommandLine", fields, frozen=True)
    which = f"All {count} options" if everything else f"Used most (--help-all shows all {count})"
    about = "Train a policy that races from pixels.\n\n"
    about += f"{which}, with the defaults of --preset, --config or --resume."
    tyro.cli(
        command_line,
        args=["--help"],
        default=command_line(**values),
        prog=program,
        description=about,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
    )


def _described(part: type, shown: list[str]) -> Any:
    """A part of the configuration with the fields that are shown, each with its text."""
    texts = field_texts(part)
    fields: list[Any] = []
    for field in dataclasses.fields(part):
        kind: Any = field.type
        if field.name in shown:
            kind = Annotated[kind, tyro.conf.arg(help=texts[field.name])]
        else:
            kind = Annotated[kind, tyro.conf.Suppress]
        fields.append((field.name, kind, dataclasses.field(default=field.default)))
    made = dataclasses.make_dataclass(part.__name__, fields, bases=(part,), frozen=True)
    made.__doc__ = (part.__doc__ or "").split("\n\n")[0]
    return made


def field_texts(part: type) -> dict[str, str]:
    """The texts below the fields of a dataclass, each in one line."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                texts[name] = " ".join(text.split())
    return texts
