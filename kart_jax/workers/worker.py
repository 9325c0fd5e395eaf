"""A worker process: one environment, driven through a socket and shared memory."""

import ctypes
import faulthandler
import io
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.game.config import RaceConfig
from kart_jax.validation import UserError
from kart_jax.workers.protocol import (
    DONE,
    OBJECT,
    STEP,
    Refused,
    Slots,
    receive_object,
    send_object,
)

MakeEnv = Callable[[RaceConfig], gymnasium.Env[Any, Any]]
"""Makes an environment, in a worker process."""
PUT = "put it, as a function or a class, into a module of its own and import it from there"
LOG_BYTES = 1 << 20
"""Bytes of a worker's output to hold in memory, for its last words; dropped beyond this."""


class _Rows:
    """Where the observations of one environment go."""

    def __init__(
        self, frames: NDArray[np.uint8] | None, states: NDArray[np.float32] | None, index: int
    ) -> None:
        self._frame = None if frames is None else frames[index]
        self._state = None if states is None else states[index]

    def put(self, observation: Any) -> None:
        """Copy the newest frame of a stack `[T, H, W, C]`, a state `[D]`, or both."""
        if self._frame is not None:
            self._frame[:] = (observation if self._state is None else observation["frames"])[-1]
        if self._state is not None:
            self._state[:] = observation if self._frame is None else observation["state"]


class EnvRunner:
    """Steps one environment on its row of the slots, which `reset` sets."""

    def __init__(self, env: gymnasium.Env[Any, Any], slots: Slots) -> None:
        """Let `env` (stacks of one frame) fill a row of `slots`."""
        self.env = env
        self._slots = slots

    def reset(
        self, index: int, seed: int | None, options: dict[str, Any] | None
    ) -> dict[str, Any] | Refused:
        """Begin an episode on row `index`; its first info, or why the options are refused."""
        slots = self._slots
        self._rows = _Rows(slots.frames, slots.states, index)
        self._final_rows = _Rows(slots.final_frames, slots.final_states, index)
        self._action = slots.actions[index : index + 1]
        self._reward = slots.rewards[index : index + 1]
        self._terminated = slots.terminated[index : index + 1]
        self._truncated = slots.truncated[index : index + 1]
        self._track = slots.tracks[index : index + 1]
        try:
            return self._begin(seed, options)
        except ValueError as error:
            if options is None:
                raise
            return Refused(str(error))

    def _begin(self, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._rows.put(observation)
        self._track[0] = str(info.get("track", "")).encode()
        return info

    def step(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Take one step; at an episode's end, return its last info and the next one's first."""
        action = self._action[0].copy()
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._reward[0] = reward
        self._terminated[0] = terminated
        self._truncated[0] = truncated
        if not (terminated or truncated):
            self._rows.put(observation)
            return None
        self._final_rows.put(observation)
        return info, self._begin(None, None)

    def call(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return an attribute of the environment or its wrappers, or what it returns."""
        try:
            value = self.env.get_wrapper_attr(name)
            value = value(*arguments, **options) if callable(value) else value
            pickle.dumps(value)  # it is to be sent
        except Exception as error:  # any error is the caller's
            return Refused(f"{name}: {error}")
        return (value,)

    def set_attr(self, name: str, value: Any) -> Refused | None:
        """Set an attribute of the environment or of the wrapper that has it."""
        try:
            self.env.set_wrapper_attr(name, value)
        except Exception as error:
            return Refused(f"{name}: {error}")
        return None

    def get_state(self) -> Any:
        """Return the environment's state, or None if it cannot be saved."""
        unwrapped = self.env.unwrapped
        return unwrapped.get_state() if hasattr(unwrapped, "get_state") else None

    def set_state(self, state: Any) -> None:
        """Restore what `get_state` gave."""
        self.env.unwrapped.set_state(state)  # type: ignore[attr-defined]


def check_importable(make: MakeEnv) -> None:
    """Refuse what a worker, which does not run the caller's main module, could not import.

    Raises:
        ValueError: says what to do.
    """
    try:
        modules = _Modules(io.BytesIO(pickle.dumps(make)))
        modules.load()
        missing = [name for name in modules.names if not _is_importable(name)]
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(f"make cannot be sent to a worker ({error}): {PUT}") from None
    if missing:
        raise UserError(f"make is of {missing[0]}, which workers cannot import: {PUT}")


def _is_importable(module: str) -> bool:
    """Whether a new process could import a module, however this one came to have it."""
    top = module.partition(".")[0]
    return top != "__main__" and any(finder.find_spec(top, None) for finder in sys.meta_path)


class _Modules(pickle.Unpickler):
    """Notes which modules are needed."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(module)
        return super().find_class(module, name)


def main() -> None:
    """Serve the trainer until it closes the socket, or is gone."""
    _die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to handle
    faulthandler.enable()  # a crash's stack goes to stderr: the last words
    link = socket.socket(fileno=int(sys.argv[1]))
    _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
    make, race, layout, spare = receive_object(link)
    slots = Slots(layout, descriptors[0])
    os.close(descriptors[0])
    env = make(race)
    if spare:
        env.reset()  # load the game now, not when it is waited for
    _serve(link, EnvRunner(env, slots))
    os._exit(0)  # skip the game's own clean-up, which may hang


def _serve(link: socket.socket, runner: EnvRunner) -> None:
    while command := link.recv(1):
        if command == STEP:
            answer: Any = runner.step()
        else:
            assert command == OBJECT
            name, *arguments = receive_object(link)
            answer = getattr(runner, name)(*arguments)
        if answer is None:
            link.send(DONE)
        else:
            send_object(link, answer)
            _limit_log()


def _limit_log() -> None:
    if os.fstat(2).st_size > LOG_BYTES:
        os.ftruncate(2, 0)


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the trainer ends, even if it hangs then."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
