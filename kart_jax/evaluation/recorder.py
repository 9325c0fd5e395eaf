"""Videos of the greedy policy, also during training, made beside it in a thread."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from numpy.typing import NDArray

from kart_jax.config import TrainConfig
from kart_jax.evaluation.drivers import Observed, Step
from kart_jax.evaluation.trials import SELECTION_SEEDS, Trial, run_trials
from kart_jax.evaluation.video import Image8, annotate, film, unfinished_video, write_video
from kart_jax.game import RaceConfig
from kart_jax.game.actions import ACTION_SETS
from kart_jax.game.start import draw_start
from kart_jax.policy.policy import Policy, PolicySpec

log = logging.getLogger(__name__)

STOP_SECONDS = 3.0
"""Waited at most for a video that is abandoned, whose encoder may be slow to end."""


class Abandoned(Exception):
    """The run ends without the video."""


class Recorder:
    """Films an episode from time to time, in workers of its own, while training continues.

    A video that fails is a warning. One that is due while the last is still being made is
    left out, so that a slow machine never makes more than one at a time.
    """

    def __init__(self, config: TrainConfig, spec: PolicySpec, run_dir: Path) -> None:
        self._config = config
        self._policy = Policy(spec, {}, config.to_dict()["race"])
        self._folder = run_dir / "videos"
        self._thread: threading.Thread | None = None
        self._abandoned = threading.Event()

    def start(self, step: int, variables: Any) -> None:
        """Begin a video of a policy of these host variables: `videos/STEP.mp4`."""
        if self._thread is not None and self._thread.is_alive():
            log.warning("no video of step %d: the last one is still being made", step)
            return
        self._policy.variables = jax.device_put(variables)
        self._path = self._folder / f"{step}.mp4"
        # A daemon: a run that must end at once waits for nobody.
        self._thread = threading.Thread(target=self._record, args=(step,), daemon=True)
        self._thread.start()

    def close(self, wait: bool) -> None:
        """Wait for the current video, or abandon it."""
        if not wait:
            self._abandoned.set()
        if self._thread is not None:
            self._thread.join(None if wait else STOP_SECONDS)
            if self._thread.is_alive():  # what the encoder still writes has no name any more
                unfinished_video(self._path).unlink(missing_ok=True)

    def _record(self, step: int) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            for left in self._folder.glob(unfinished_video(Path("*.mp4")).name):
                left.unlink()  # of a process that was killed
            self._film(step)
        except Exception as error:  # the game, the encoder, the disk: training continues
            if not self._abandoned.is_set():
                log.warning("no video of step %d, training continues: %s", step, error)

    def _film(self, step: int) -> None:
        race = self._config.race
        track = race.track[step // self._config.run.video_steps % len(race.track)]
        trial = Trial("policy", track, SELECTION_SEEDS, race.difficulty, race.karts)
        _, steps = drive_trial(race, trial, self._policy, self._check)
        film_trial(self._path, race, trial, steps, self._check)

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise Abandoned


def drive_trial(
    race: RaceConfig, trial: Trial, policy: Policy, check: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], list[Step]]:
    """Drive one of a policy's trials in a worker; return the episode's summary and its steps.

    `check` is called before each action, and ends the drive by what it raises.

    Raises:
        WorkersLostError: the game cannot run.
    """
    seen: list[tuple[Observed, Any, float | None]] = []

    def act(observation: Observed) -> NDArray[Any]:
        check()
        actions = policy.act(observation)
        value = float(policy.value(observation)[0]) if policy.has_value else None
        # Whole stacks take memory.
        newest = {"frames": observation["frames"][0, -1:].copy()} if race.draws else {}
        seen.append((newest, actions[0], value))
        return actions

    [result] = run_trials(race, [trial], act, workers=1)
    controls = ACTION_SETS[race.action_set]().controls
    start = draw_start(trial.race(race), trial.episode_seed, {"track": trial.track})
    about = {"track": trial.track, "reverse": start.reverse, "episode_seed": start.seed}
    return result.episode, [
        Step(newest, action, controls(action), 0.0, about, None, value)
        # One more action follows the end, and what a lost worker drove comes before.
        for newest, action, value in seen[-int(result.episode["length"]) - 1 : -1]
    ]


def film_trial(
    path: Path,
    race: RaceConfig,
    trial: Trial,
    steps: Sequence[Step],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Film a driven trial, with what the policy saw and did drawn in.

    `check` is called before each view, and ends the film by what it raises.

    Raises:
        GameError: the game cannot race again.
        OSError: the encoder failed, or the disk is full.
    """

    def draw(view: Image8, step: Step) -> Image8:
        check()
        return annotate(race, view, step)

    write_video(path, film(trial.race(race), steps, draw), 1 / race.action_seconds)
