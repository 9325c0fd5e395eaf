"""`python -m kart_jax.export`: write a checkpoint's policy as a folder of plain files, to share."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kart_jax.cli.command import command, program
from kart_jax.files import expand_paths
from kart_jax.validation import UserError


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    policy: Annotated[str, tyro.conf.Positional]
    """A run's folder (its best checkpoint, or else its newest) or a checkpoint's; an exported
    policy's, or a shipped policy's name, is copied."""
    folder: Annotated[Path, tyro.conf.Positional]
    """A new folder for the policy's files."""

    def __post_init__(self) -> None:
        """Expand `~` in paths."""
        expand_paths(self)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says."""
    config = tyro.cli(ExportConfig, args=arguments, prog=program("export"))
    export(config.policy, config.folder)
    for path in sorted(config.folder.iterdir()):
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def export(policy: str, folder: Path) -> None:
    """Write the policy of a run or checkpoint, or copy an exported one, to a new folder.

    Raises:
        CheckpointError: there is no whole checkpoint, nor such a name.
        ValueError: the folder holds something already.
    """
    from kart_jax.policy.exported import is_exported, write_policy
    from kart_jax.run_folder.loading import find_folder, read_trained

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already: choose another folder")
    source = find_folder(policy)
    if is_exported(source):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return
    spec, variables, progress = read_trained(source)
    folder.mkdir(parents=True, exist_ok=True)
    config = progress["config"]
    begun = config["run"]["init_from"] is not None  # with a policy, and so without imitation
    imitated = 0 if begun else config["imitation"]["imitation_steps"]
    scale = progress.get("reward_scale")
    write_policy(folder, spec, variables, config, progress["step"], imitated, scale)


if __name__ == "__main__":
    sys.exit(main())
