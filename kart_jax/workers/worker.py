"""A worker process: one environment, driven through a socket and shared memory."""

import ctypes
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.game.config import RaceConfig
from kart_jax.workers.protocol import DONE, OBJECT, STEP, Slots, receive_object, send_object

MakeEnv = Callable[[RaceConfig], gymnasium.Env[Any, Any]]
LOG_BYTES = 1 << 20
"""What a worker printed is kept in memory, for its last words; dropped beyond this."""


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
    """Steps one environment on its row of the slots, which it is told by `reset`."""

    def __init__(self, env: gymnasium.Env[Any, Any], slots: Slots) -> None:
        """Let `env` (stacks of one frame) fill a row of `slots`."""
        self.env = env
        self._slots = slots

    def reset(self, index: int, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        """Begin an episode on row `index`; its first info."""
        slots = self._slots
        self._rows = _Rows(slots.frames, slots.states, index)
        self._final_rows = _Rows(slots.final_frames, slots.final_states, index)
        self._action = slots.actions[index : index + 1]
        self._reward = slots.rewards[index : index + 1]
        self._terminated = slots.terminated[index : index + 1]
        self._truncated = slots.truncated[index : index + 1]
        self._track = slots.tracks[index : index + 1]
        return self._begin(seed, options)

    def _begin(self, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._rows.put(observation)
        self._track[0] = str(info.get("track", "")).encode()
        return info

    def step(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """One step; at an episode's end, its last info and the next one's first."""
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

    def get_state(self) -> Any:
        """The environment's state, or None if it cannot save one."""
        unwrapped = self.env.unwrapped
        return unwrapped.get_state() if hasattr(unwrapped, "get_state") else None

    def set_state(self, state: Any) -> None:
        """Restore what `get_state` gave."""
        self.env.unwrapped.set_state(state)  # type: ignore[attr-defined]


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
