"""Environments that misbehave, importable by worker processes."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym

from kart_jax.game import RaceConfig
from kart_jax.game.fake import FakeKartEnv


def shared_memory() -> set[str]:
    """What has a name there; semaphores are those of other programs."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.")}


def in_trainer() -> bool:
    return os.environ["TRAINER"] == str(os.getpid())


class Misbehaving(gym.Wrapper[Any, Any, Any, Any]):
    """Does what the folder named by `FAULTS` asks for, once per request.

    A file `COMMAND-FAULT` there (such as `step-SIGKILL`) is taken by the first worker
    that gets to it, when it next runs that command.
    """

    def misbehave(self, command: str) -> None:
        for request in Path(os.environ["FAULTS"]).glob(f"{command}-*"):
            try:
                request.unlink()
            except FileNotFoundError:  # another worker took it
                continue
            fault = request.name.split("-")[1]
            if fault == "raise":
                print("loud " * 1_000_000, file=sys.stderr)
                raise ConnectionError(f"trouble in {command}")
            if fault == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if fault in ("sleep", "deaf"):
                time.sleep(600)
            os.kill(os.getpid(), getattr(signal, fault))

    def reset(self, **arguments: Any) -> Any:
        self.misbehave("reset")
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self.misbehave("step")
        return super().step(action)


def make_misbehaving(race: RaceConfig) -> gym.Env[Any, Any]:
    env = Misbehaving(FakeKartEnv(race))
    if not in_trainer():
        env.misbehave("make")
    return env


def make_broken(race: RaceConfig) -> gym.Env[Any, Any]:
    """Works in the trainer, never in a worker."""
    if not in_trainer():
        raise RuntimeError("this machine is cursed")
    return FakeKartEnv(race)


class Reporting(gym.Wrapper[Any, Any, Any, Any]):
    """Tells in each reset's info what a worker's process looks like from inside."""

    def reset(self, **arguments: Any) -> Any:
        observation, info = super().reset(**arguments)
        info["jax"] = any(name.split(".")[0] in ("jax", "jaxlib") for name in sys.modules)
        info["ignores_interrupt"] = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        info["threads"] = os.environ["OMP_NUM_THREADS"]
        return observation, info


def make_reporting(race: RaceConfig) -> gym.Env[Any, Any]:
    return Reporting(FakeKartEnv(race))


def make_paid(race: RaceConfig) -> gym.Env[Any, Any]:
    """Ten for each step, whatever it led to."""
    return gym.wrappers.TransformReward(FakeKartEnv(race), lambda _: 10.0)


def make_short(race: RaceConfig) -> gym.Env[Any, Any]:
    """Cut off by a wrapper of which the game does not know."""
    return gym.wrappers.TimeLimit(FakeKartEnv(race), 5)


def make_unlearnable(race: RaceConfig) -> gym.Env[Any, Any]:
    """A reward that is no number, from the twentieth step on."""
    steps = iter(range(10**9))
    return gym.wrappers.TransformReward(
        FakeKartEnv(race), lambda reward: float("nan") if next(steps) >= 20 else reward
    )
