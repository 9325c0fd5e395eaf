"""What the tests on the real game do in processes of their own: plain functions."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
from gymnasium.utils.env_checker import check_env

from kart_jax.game import RaceConfig
from kart_jax.game.actions import closest_actions
from kart_jax.game.engine import engine
from kart_jax.game.engine.race import Race
from kart_jax.game.env import KartEnv
from kart_jax.game.errors import GameError
from kart_jax.game.state import FIELDS, NAMES

FORWARD, IDLE = [1, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]
BACKWARD, RESCUE = [0, 1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 1]
HEADER = 4096
"""Bytes at the head of an X server's dump of its screen that hold no pixels."""
PATIENT = RaceConfig(stuck_seconds=1e3, wrong_way_seconds=1e3, time_limit=1e3)


def check(config: RaceConfig) -> None:
    """Gymnasium's own checks of one configuration."""
    # Through make: its specification says that frames of equal states may differ.
    env = gymnasium.make("kart_jax/SuperTuxKart-v0", config=config).unwrapped
    try:
        check_env(env, skip_render_check=True)
    finally:
        env.close()


def drive(
    config: RaceConfig, actions: list[Any], seed: int = 0, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One episode: locations [steps + 1, 3] of the kart, rewards, and the last info."""
    env = KartEnv(config)
    try:
        observation, about = env.reset(seed=seed, options=options)
        locations, rewards, observations = [env.kart.location], [], [observation]
        info = about
        for action in actions:
            observation, reward, terminated, truncated, info = env.step(action)
            locations.append(env.kart.location)
            rewards.append(reward)
            observations.append(observation)
            if terminated or truncated:
                break
        return {
            "about": about,
            "locations": np.array(locations),
            "rewards": np.array(rewards),
            "info": info,
            "first": observations[0],
            "last": observations[-1],
            "ended": (terminated, truncated) if actions else (False, False),
        }
    finally:
        env.close()


def drive_in_full(
    config: RaceConfig, actions: list[Any], scenery: bool, countdown: bool
) -> dict[str, Any]:
    """As `drive`, with scenery that nobody sees, or with a countdown that is always simulated."""
    if scenery:
        engine.unseen_data = lambda data: data
    if countdown:
        count_down = Race._count_down
        Race._count_down = lambda self, moving: count_down(self, moving=True)  # type: ignore[method-assign]
    return drive(config, actions)


def sampled(config: RaceConfig, count: int, seed: int) -> list[Any]:
    """Actions drawn from a configuration's space, mostly with the accelerator held."""
    rng = np.random.default_rng(seed)
    return [[1, 0, int(steer), 0, 0, 0, 0] for steer in rng.choice([0, 1, 1, 2], count)]


def again(config: RaceConfig, seeds: list[int], steps: int) -> list[dict[str, Any]]:
    """Episodes one after another in one environment: what they met, by seed."""
    env = KartEnv(config)
    met = []
    try:
        for seed in seeds:
            _, about = env.reset(seed=seed)
            locations, rewards = [env.kart.location], []
            for action in sampled(config, steps, seed):
                _, reward, _, _, info = env.step(action)
                locations.append(env.kart.location)
                rewards.append(reward)
            met.append(
                {
                    **about,
                    "locations": np.array(locations),
                    "rewards": rewards,
                    "position": env.kart.position,
                    "terms": info["reward_terms"],
                }
            )
    finally:
        env.close()
    return met


def load(tracks: list[tuple[str, bool]]) -> list[tuple[float, float]]:
    """Each track for a second of full throttle: metres driven, brightness of the frame."""
    env = KartEnv(replace(PATIENT, action_set="drive"))
    seen = []
    try:
        for track, reverse in tracks:
            env.reset(options={"track": track, "reverse": reverse})
            start = env.kart.location
            for _ in range(10):
                observation, *_ = env.step([1, 1])
            moved = float(np.linalg.norm(env.kart.location - start))
            seen.append((moved, float(observation.std())))
    finally:
        env.close()
    return seen


def ai_lap(config: RaceConfig) -> dict[str, Any]:
    """The built-in driver's lap: the last info, and all its controls."""
    env = KartEnv(replace(config, driver="ai"))
    try:
        env.reset(seed=0)
        controls = []
        for _ in range(2000):
            _, _, terminated, truncated, info = env.step(None)  # which is ignored
            controls.append(info["controls"])
            if terminated or truncated:
                break
        return {"info": info, "controls": controls, "terminated": terminated}
    finally:
        env.close()


def starts(config: RaceConfig, seeds: list[int]) -> list[dict[str, Any]]:
    """Where episodes begin."""
    env = KartEnv(config)
    seen = []
    try:
        for seed in seeds:
            env.reset(seed=seed)
            place = env.line.locate(env.kart.location)
            error = (env.kart.heading - place.direction + np.pi) % (2 * np.pi) - np.pi
            seen.append(
                {
                    "along": place.along,
                    "lateral": place.lateral,
                    "speed": env.kart.speed,
                    "error": error,
                    "on_road": env.kart.on_road,
                    "on_grid": env._playing()[1].on_grid,
                    "location": env.kart.location,
                    "position": env.kart.position,
                }
            )
    finally:
        env.close()
    return seen


def field(config: RaceConfig) -> tuple[int, str, int]:
    """At the start: how many karts race, the observed one's model, and its position."""
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        assert env._race is not None
        karts = env._race._world.karts
        return len(karts), str(karts[env._race._index].name), env.kart.position
    finally:
        env.close()


def leap(config: RaceConfig, metres: float, actions: list[Any]) -> dict[str, Any]:
    """A short cut: an episode that is put down so many metres further on in its middle."""
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        progress = []
        for number, action in enumerate(actions):
            if number == len(actions) // 2:
                assert env._race is not None
                along = env.line.locate(env.kart.location).along
                env._race.place(*env.line.point(along + metres))
            *_, info = env.step(action)
            progress.append(info["reward_terms"]["progress"])
        return {"before": progress[: len(actions) // 2], "after": progress[len(actions) // 2 :]}
    finally:
        env.close()


def loads(config: RaceConfig, tracks: list[str]) -> int:
    """How often the game loads a track in resets on these ones."""
    loaded = 0
    original = Race._load

    def counted(race: Race, *arguments: Any) -> None:
        nonlocal loaded
        loaded += 1
        original(race, *arguments)

    Race._load = counted  # type: ignore[method-assign]
    env = KartEnv(config)
    try:
        for track in tracks:
            env.reset(options={"track": track})
        return loaded
    finally:
        Race._load = original  # type: ignore[method-assign]
        env.close()


def drawn_frames(config: RaceConfig, steps: int) -> int:
    """How many frames are drawn in that many actions."""
    drawn = 0
    original = Race.image

    def counted(race: Race) -> Any:
        nonlocal drawn
        drawn += 1
        return original(race)

    Race.image = counted  # type: ignore[method-assign]
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        drawn = 0
        for _ in range(steps):
            env.step(FORWARD)
        return drawn
    finally:
        Race.image = original  # type: ignore[method-assign]
        env.close()


def message(action: Callable[..., Any], *arguments: Any, **environment: str) -> str:
    """The name and text of the error that a function ends with, given environment variables."""
    os.environ.update(environment)
    try:
        action(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def reset_once(config: RaceConfig, render_mode: str | None = None) -> Any:
    """Start the game, and close the environment again."""
    env = KartEnv(config, render_mode)
    try:
        env.reset(seed=0)
        return env.render()
    finally:
        env.close()


def shown(config: RaceConfig, screen: Path, **environment: str) -> tuple[float, float]:
    """Spread of the pixel values of a screen before and after a race shows its window there."""
    os.environ.update(environment)
    env = KartEnv(config, "human")
    before = np.fromfile(screen, np.uint8)[HEADER:].std()
    try:
        env.reset(seed=0)
        for _ in range(3):
            env.step(FORWARD)
        return float(before), float(np.fromfile(screen, np.uint8)[HEADER:].std())
    finally:
        env.close()


def two_at_once() -> None:
    """Two environments of one process in turn: each reset takes the race over."""
    first, second = KartEnv(PATIENT), KartEnv(PATIENT)
    try:
        for newer in (first, second, first):
            newer.reset()
            newer.step(FORWARD)
        second.step(FORWARD)
    finally:
        second.close()
        first.close()


def step_first() -> None:
    """A step before any reset."""
    KartEnv(PATIENT).step(IDLE)


def step_after_the_end() -> None:
    """A step after an episode that ended."""
    env = KartEnv(replace(PATIENT, time_limit=0.1))
    env.reset()
    try:
        for _ in range(2):
            env.step(IDLE)
    finally:
        env.close()


def draw_in_a_thread() -> None:
    """Steps in another thread than that of the reset."""
    env = KartEnv(PATIENT)
    env.reset()
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(env.step, IDLE).result()
    finally:
        env.close()


def refused_reset() -> tuple[dict[str, Any], dict[str, Any]]:
    """What a reset tells, and a step after another one that was refused."""
    env = KartEnv(PATIENT)
    try:
        _, about = env.reset(seed=3)
        with contextlib.suppress(ValueError):
            env.reset(options={"track": "stadium"})
        *_, info = env.step(FORWARD)
        return about, info
    finally:
        env.close()


def seen_ahead(config: RaceConfig, kind: str, metres: float) -> Any:
    """The frame [H, W, C] from some metres before the first item of a kind on the track."""
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        race = env._race
        assert race is not None
        item = next(item for item in race.items() if item.kind == kind)
        place = race.line.locate(item.location)
        point, heading = race.line.point(max(place.along - metres, 0.0))
        right = np.array([np.cos(heading), 0.0, -np.sin(heading)])
        race.place(point + place.lateral * right + [0.0, 0.3, 0.0], heading)
        for _ in range(8):
            observation, *_ = env.step(IDLE)
        return observation[-1]
    finally:
        env.close()


def drawn_tracks(config: RaceConfig, resets: int) -> list[tuple[str, bool, float]]:
    """What is raced in so many episodes: track, whether in reverse, and the heading [radians]."""
    env = KartEnv(config)
    seen = []
    try:
        for seed in range(resets):
            _, about = env.reset(seed=seed)
            seen.append((about["track"], about["reverse"], env.kart.heading))
        return seen
    finally:
        env.close()


def states(config: RaceConfig, actions: list[Any]) -> list[dict[str, float]]:
    """The states after the reset and each action, by name, in the units of their fields."""
    env = KartEnv(config)
    try:
        seen = [env.reset(seed=0)[0]]
        seen += [env.step(action)[0] for action in actions]
    finally:
        env.close()
    seen = [one["state"] if isinstance(one, dict) else one for one in seen]
    scales = [field.scale for field in FIELDS]
    return [dict(zip(NAMES, (one * scales).tolist(), strict=True)) for one in seen]


def memory(config: RaceConfig) -> float:
    """Megabytes of this process with a race under way, and none of NumPy's or Gymnasium's."""
    process = psutil.Process()
    before = process.memory_info().rss
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        return (process.memory_info().rss - before) / 1e6
    finally:
        env.close()


def change_track(config: RaceConfig, track: str) -> None:
    """A race on one track, and another one in the same process on another."""
    for name in (config.track[0], track):
        env = KartEnv(replace(config, track=(name,)))
        try:
            env.reset(seed=0)
        finally:
            env.close()


def guided_states(config: RaceConfig, steps: int) -> Any:
    """The states [T, D] that the guide meets."""
    env = KartEnv(config)
    seen = []
    try:
        env.reset(seed=0)
        for _ in range(steps):
            controls = np.array([env.guide(drifting=True)], np.float32)
            state, _, terminated, truncated, _ = env.step(
                closest_actions(config.action_set, controls)[0]
            )
            seen.append(state)
            if terminated or truncated:
                env.reset()
    finally:
        env.close()
    return np.array(seen)


def every_info(config: RaceConfig, actions: list[Any]) -> list[tuple[float, dict[str, Any]]]:
    """The reward and the info of each action of an episode."""
    env = KartEnv(config)
    try:
        env.reset(seed=0)
        told = []
        for action in actions:
            _, reward, _, _, info = env.step(action)
            told.append((reward, info))
        return told
    finally:
        env.close()


def train_peer(fields: dict[str, Any]) -> int:
    """Train the PPO of Stable-Baselines3 on what `gymnasium.make` gives: steps taken."""
    from stable_baselines3 import PPO

    env = gymnasium.make("kart_jax/SuperTuxKart-v0", **fields)
    model = PPO("CnnPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.learn(64)
    env.close()
    return int(model.num_timesteps)


def guided_lap(config: RaceConfig) -> dict[str, Any]:
    """A lap as the guide drives it; the last info."""
    env = KartEnv(config)
    try:
        _, info = env.reset(seed=0)
        ended = False
        while not ended:
            controls = np.array([env.guide()], np.float32)
            action = closest_actions(config.action_set, controls)[0]
            *_, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        return info
    finally:
        env.close()


def start_in_a_fork(config: RaceConfig) -> str:
    """What a process forked from this one, with the game running, is told when it starts a race."""
    env = KartEnv(config)
    env.reset(seed=0)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def start() -> None:
        try:
            KartEnv(config).reset(seed=0)
        except GameError as error:
            answers.put(str(error))

    child = context.Process(target=start)
    child.start()
    child.join(60)
    child.kill()
    env.close()
    return answers.get() if not answers.empty() else f"nothing: {child.exitcode}"
