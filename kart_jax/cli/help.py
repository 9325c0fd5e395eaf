"""What `python -m kart_jax.train --help` prints: the options used most; `--help-all`: all."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import docstring_parser
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
    count = sum(len(dataclasses.fields(part)) for part in options.values())
    which = f"All {count} options" if everything else f"Used most (--help-all shows all {count})"
    about = "Train a policy that races from pixels.\n\n"
    about += f"{which}, with the defaults of --preset, --config or --resume."
    fields: list[Any] = [
        (name, _documented(part, None if everything else USED_MOST.get(name, ())))
        for name, part in options.items()
    ]
    command_line = dataclasses.make_dataclass(
        "CommandLine", [*fields, ("config", ConfigFile, None)]
    )
    tyro.cli(
        command_line,
        args=["--help"],
        prog=program,
        description=about,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
    )


def _documented(part: Any, names: Collection[str] | None) -> type:
    """The type of a part, its values as the defaults; tyro hides all but `names`, unless None."""
    kind = type(part)
    docstring = docstring_parser.parse_from_object(kind)
    # tyro finds these texts by itself, but breaks the line where an indented docstring does.
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in docstring.params}
    fields: list[Any] = []
    for field in dataclasses.fields(part):
        hidden = names is not None and field.name not in names
        mark = tyro.conf.Suppress if hidden else tyro.conf.arg(help=texts[field.name])
        fields.append((field.name, Annotated[field.type, mark], getattr(part, field.name)))
    about = {"__doc__": docstring.short_description}
    return dataclasses.make_dataclass(
        kind.__name__, fields, bases=(kind,), frozen=True, namespace=about
    )
