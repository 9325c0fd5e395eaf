"""`python -m kart_jax.report`: show how a policy learnt and drives, on one page for a browser.

The page is one HTML file that needs no network: results beside the game's AI and the human world
record, driven lines coloured by speed, a film, what the policy sees, learning curves, settings.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kart_jax.cli.command import INTERRUPTED, command, program
from kart_jax.config import race_of
from kart_jax.evaluate import EvaluateConfig, evaluate
from kart_jax.evaluation.trials import make_trial
from kart_jax.evaluation.video import check_encoder
from kart_jax.files import check_output, expand_paths, write_whole
from kart_jax.play import describe_episode
from kart_jax.plot import read_report
from kart_jax.run_folder.logged import LoggedRun, read_run
from kart_jax.validation import check

if TYPE_CHECKING:
    from kart_jax.policy.policy import Policy
    from kart_jax.reporting.page import Drive


@dataclass(frozen=True)
class ReportConfig:
    """Which policy to show, and how much it drives for that."""

    policy: Annotated[str, tyro.conf.Positional]
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name."""
    out: Path | None = None
    """The HTML file; by default `report.html` in the run's folder, or else NAME_report.html."""
    tracks: tuple[str, ...] | None = None
    """Tracks, separated by spaces or commas, or `all`; by default those of the training."""
    episodes: int = 10
    """Greedy episodes of the policy on each track."""
    baseline_episodes: int = 3
    """Episodes of each other driver on each track; 0 leaves them out, and the human world record
    with them."""
    evaluation: Path | None = None
    """Show what `kart_jax.evaluate --json` wrote to this file, instead of driving."""
    film: bool = True
    """Drive an episode of each track again, to film it and to show what the policy sees."""

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        expand_paths(self)
        check_output("out", self.out)
        driven = self.tracks is None or self.evaluation is None
        check(driven, "tracks", self.tracks, "left out with --evaluation, which has its own")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Drive as the command line says, write the page, and print where it is."""
    config = tyro.cli(ReportConfig, args=arguments, prog=program("report"))
    from kart_jax.reporting.page import write_page
    from kart_jax.run_folder.loading import load_policy, shipped_policies

    policy = load_policy(config.policy)
    folder = Path(config.policy).expanduser()
    is_run = config.policy not in shipped_policies() and (folder / "config.json").exists()
    run = read_run(folder) if is_run else None
    if config.film:
        check_encoder()
    out = config.out or _default_file(folder, run)
    check_output("out", out)
    report, whole = _evaluation(config)
    if not whole:
        return INTERRUPTED
    filmed = report["tracks"] if config.film else ()
    drives = {track: drive(policy, track, report["settings"]) for track in filmed}
    settings = run.config.to_dict() if run is not None else {"race": policy.race}
    page = write_page(
        title=folder.resolve().name,
        about=_about(policy, run),
        footer=f"Written by <code>{program('report')}</code>.",
        report=report,
        drives=drives,
        run=run,
        settings=settings,
    )
    write_whole(out, page)
    print(f"{out} ({len(page) / 1e6:.1f} MB): open it in a browser")
    return 0


def _evaluation(config: ReportConfig) -> tuple[dict[str, Any], bool]:
    """Return the evaluation to show, and whether it is whole."""
    if config.evaluation is not None:
        return read_report(config.evaluation), True
    return evaluate(
        EvaluateConfig(
            config.policy,
            tracks=config.tracks,
            episodes=config.episodes,
            baseline_episodes=config.baseline_episodes,
        )
    )


def drive(policy: "Policy", track: str, settings: dict[str, Any]) -> "Drive":
    """Drive the first episode of an evaluation on a track again, and film it.

    Raises:
        GameError: the game cannot run.
    """
    from kart_jax.evaluation.recorder import drive_trial, film_trial
    from kart_jax.reporting.page import Drive

    race = race_of(policy.race)
    karts = settings["opponents"] + 1
    trial = make_trial("policy", track, settings["seed"], settings["difficulty"], karts)
    episode, steps = drive_trial(race, trial, policy)
    frames = [step.seen["frames"][-1, ..., : race.colours] for step in steps if race.draws]
    content = None
    if race.simulator != "fake":  # which has no views
        print(f"filming {track}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            film_trial(path, race, trial, steps)
            content = path.read_bytes()
    return Drive(content, frames, describe_episode(episode))


def _default_file(folder: Path, run: LoggedRun | None) -> Path:
    return (
        folder / "report.html" if run is not None else Path(f"{folder.resolve().name}_report.html")
    )


def _about(policy: "Policy", run: LoggedRun | None) -> str:
    """Say in a line what the policy is."""
    race = race_of(policy.race)
    tracks = ", ".join(race.track) if len(race.track) < 4 else f"{len(race.track)} tracks"
    sees = "sees the game's state"
    if race.draws:
        sees = f"sees {race.stack} frames of {race.width} x {race.height} pixels"
    about = [f"trained on {tracks}", sees, f"actions: {race.action_set}"]
    if run is not None:
        about += [f"preset {run.config.run.preset}", f"{run.step:,} policy steps of PPO"]
    text = ", ".join(about)
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    sys.exit(main())
