"""`python -m kart_jax.export`: a checkpoint's policy as one folder of plain files, to share."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kart_jax.commands import command


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    policy: Annotated[Path, tyro.conf.Positional]
    """A run's folder (its best checkpoint, or else its newest) or a checkpoint's."""
    folder: Annotated[Path, tyro.conf.Positional]
    """A new folder for the policy's files."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says."""
    config = tyro.cli(ExportConfig, args=arguments, prog="python -m kart_jax.export")
    export(config.policy, config.folder)
    for path in sorted(config.folder.iterdir()):
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def export(policy: Path, folder: Path) -> None:
    """Write the policy of a run or checkpoint to a new folder.

    Raises:
        CheckpointError: there is no whole checkpoint.
        ValueError: the folder holds something already.
    """
    from kart_jax import checkpoints
    from kart_jax.policy.exported import write_policy
    from kart_jax.policy.policy import PolicySpec

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already: choose another folder")
    checkpoint = checkpoints.find(policy)
    progress = checkpoints.read_progress(checkpoint)
    spec = PolicySpec.from_dict(progress["policy"])
    variables = checkpoints.read_policy(checkpoint, spec.template())
    folder.mkdir(parents=True, exist_ok=True)
    write_policy(folder, spec, variables, progress["config"], progress["step"])


if __name__ == "__main__":
    sys.exit(main())
