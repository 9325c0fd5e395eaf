"""`python -m kart_jax.record`: save demonstrations of the game's AI or of a policy, in one file.

The file is NumPy's compressed `.npz`; N counts the steps of all episodes, one after another:

    frames      uint8 [N, H, W, C]   the newest frame that was seen before the step
    controls    float32 [N, 7]       what the kart did in it: see `control_names`
    actions     [N, ...]             the member of the action space; not with the driver `ai`
    states      float32 [N, 8]       the kart before the step: see `state_names`
    rewards     float32 [N]
    episodes    int32 [N]            which episode the step belongs to
    summaries   str                  JSON: how each episode ended
    race        str                  JSON: the environment's configuration
    control_names, state_names       the columns' names
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from kart_jax.cli.command import command, program
from kart_jax.evaluation.drivers import Step, drive_episodes, make_act, open_policy, race_from_grid
from kart_jax.evaluation.trials import Driver, plain_episode
from kart_jax.files import check_output, expand_paths
from kart_jax.game.actions import Controls
from kart_jax.game.config import DIFFICULTIES, TICK
from kart_jax.game.engine.catalogue import check_installed
from kart_jax.game.engine.world import KartState
from kart_jax.play import describe_episode
from kart_jax.validation import check, check_choice, check_seed

STATES = ("x", "y", "z", "heading", "speed", "on_road", "jumping", "position")
"""Metres (y is up), radians (0 = +z, growing towards +x), metres a second, place in the race."""


@dataclass(frozen=True)
class RecordConfig:
    """Which episodes to record, and who drives."""

    policy: Annotated[str | None, tyro.conf.Positional] = None
    """A run's folder, a checkpoint's, an exported policy's, or a shipped policy's name. With
    another driver its view is recorded; without any, that of the preset `cpu`."""
    driver: Driver = "ai"
    """`ai` is the game's own driver; `guide` knows the road; `straight` holds the accelerator."""
    track: tuple[str, ...] | None = None
    """Tracks to drive on, one after another."""
    episodes: int = 1
    """Episodes to record."""
    difficulty: int | None = None
    """0 to 3: the speed of all karts and the skill of the driver `ai`."""
    opponents: int = 0
    """Karts driven by the game."""
    seed: int = 0
    """Seeds the episodes."""
    out: Path = Path("demonstrations.npz")
    """The file to write, in .npz."""

    def __post_init__(self) -> None:
        """Refuse what cannot be recorded."""
        expand_paths(self)
        check(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        check(0 <= self.opponents <= 19, "opponents", self.opponents, "0 to 19")
        check_seed("seed", self.seed, self.episodes)
        check_choice("difficulty", self.difficulty, [None, *DIFFICULTIES])
        check(self.out.suffix == ".npz", "out", str(self.out), "a file name in .npz")
        check_output("out", self.out)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Record as the command line says."""
    config = tyro.cli(RecordConfig, args=arguments, prog=program("record"))
    arrays = record(config)
    np.savez_compressed(config.out, allow_pickle=False, **arrays)
    print(f"{config.out}: {len(arrays['frames']):,} steps of {config.episodes} episodes")
    return 0


def record(config: RecordConfig) -> dict[str, NDArray[Any]]:
    """Drive the episodes; return the arrays of the file.

    Raises:
        ValueError: a track or a value is not available.
        CheckpointError: there is no such policy.
    """
    policy = open_policy(config.policy, config.driver)
    changes = {"track": config.track, "difficulty": config.difficulty}
    race = race_from_grid(policy, config.driver, changes, config.opponents)
    if not race.draws:
        race = replace(race, observation="both")
    if config.driver == "ai":
        # It steers anew in every step of the physics: what it did in an action is the mean.
        ticks = round(race.action_seconds / TICK)
        race = replace(race, step_seconds=TICK, action_repeat=ticks)
    check(race.simulator != "fake", "simulator", "fake", "supertuxkart: others have no states")
    check_installed(race)
    act = make_act(config.driver, race, policy, config.seed)
    steps: list[Step] = []
    episodes: list[int] = []
    summaries: list[dict[str, Any]] = []
    for driven in drive_episodes(race, act, config.episodes, config.seed):
        episodes += [len(summaries)] * len(driven)
        summaries.append(plain_episode(driven[-1].info["summary"]))
        print(describe_episode(summaries[-1]), file=sys.stderr)
        steps += driven
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.stack([step.seen["frames"][-1] for step in steps]),
        "controls": np.array([step.controls for step in steps], np.float32),
        "states": np.array([_state(s.before) for s in steps if s.before], np.float32),
        "rewards": np.array([step.reward for step in steps], np.float32),
        "episodes": np.array(episodes, np.int32),
        "summaries": np.array(json.dumps(summaries)),
        "race": np.array(json.dumps(asdict(race))),
        "control_names": np.array(Controls._fields),
        "state_names": np.array(STATES),
    }
    if config.driver != "ai":
        arrays["actions"] = np.array([step.action for step in steps])
    return arrays


def _state(kart: KartState) -> list[float]:
    own = (kart.heading, kart.speed, kart.on_road, kart.jumping, kart.position)
    return [*kart.location.tolist(), *map(float, own)]


if __name__ == "__main__":
    sys.exit(main())
