"""Loading a policy: a shipped one by its name, or any from a run, a checkpoint or a folder."""

from pathlib import Path
from typing import Any

from kart_jax.policy import exported
from kart_jax.policy.platform import check_platform
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import CheckpointError, ever_saved
from kart_jax.run_folder.folder import IMITATED

SHIPPED = Path(__file__).parents[1] / "policies"
"""Exported policies that come with the package, a folder for each."""


def load_policy(source: str | Path) -> Policy:
    """Load a shipped policy by its name, or any from a run, a checkpoint or an exported folder.

    Of a run its best checkpoint is taken, or else its newest; before the first one, what it
    imitated. It needs neither the game
    nor its data. Where a folder has a shipped policy's name, write `./name` for the folder.

    Raises:
        CheckpointError: there is no whole checkpoint, nor such a name.
        ValueError: the files are damaged.
        RuntimeError: JAX finds no device.
    """
    check_platform()
    folder = find_folder(source)
    if exported.is_exported(folder):
        return exported.read_policy(folder)
    spec, variables, progress = read_trained(folder)
    return Policy(spec, variables, progress["config"]["race"], progress.get("reward_scale"))


def read_trained(folder: Path) -> tuple[PolicySpec, Any, dict[str, Any]]:
    """Return spec, variables and progress of a checkpoint, or of a run's best or newest.

    The run may be training meanwhile, and delete what is being read: then the next is taken.

    Raises:
        CheckpointError: there is no whole checkpoint.
    """
    while True:
        before = checkpoints.steps(folder / "checkpoints")
        try:
            checkpoint = checkpoints.find(folder)
            progress = checkpoints.read_progress(checkpoint)
            spec = PolicySpec.from_dict(progress["policy"])
            return spec, checkpoints.read_policy(checkpoint, spec.template()), progress
        except CheckpointError:
            if checkpoints.steps(folder / "checkpoints") == before:
                raise


def find_folder(source: str | Path) -> Path:
    """Return the folder of a shipped policy's name, or of a path.

    Of a run that has no checkpoint yet, the folder is that of the policy which it imitated.

    Raises:
        CheckpointError: there is none, or the run has learnt no policy yet.
    """
    folder = SHIPPED / source if str(source) in shipped_policies() else Path(source).expanduser()
    if not folder.exists():
        raise CheckpointError(
            f"{source} does not exist, nor is it a shipped policy's name "
            f"({', '.join(shipped_policies()) or 'there are none'})"
        )
    if not (folder / "config.json").exists() or ever_saved(folder / "checkpoints"):
        return folder
    if (folder / IMITATED).exists():
        return folder / IMITATED
    raise CheckpointError(
        f"{folder} has saved no policy yet. Wait while it trains; if it was stopped, continue it: "
        f"python -m kart_jax.train --resume --run-dir {folder}"
    )


def shipped_policies() -> list[str]:
    """Return the names of the policies that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/policy.json"))
