"""Frames at a viewing size: the same race again, drawn by a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np
import numpy.typing as npt

from kart_jax.game.child import start_child
from kart_jax.game.config import RaceConfig
from kart_jax.game.env import KartEnv
from kart_jax.game.errors import GameError
from kart_jax.validation import check


def replay(
    config: RaceConfig,
    about: dict[str, Any],
    actions: Sequence[Any],
    *,
    height: int = 400,
    width: int = 600,
    hud: bool = False,
    timeout: float = 120.0,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Race an episode again with the same actions, which repeats it exactly, and draw it.

    Args:
        config: the configuration that the episode was raced with.
        about: the `info` of its `reset`: track, reverse and episode_seed.
        actions: its actions.
        height: height of the frames to draw, in pixels.
        width: width of the frames to draw, in pixels.
        hud: whether to draw position, lap, speed and map over them.
        timeout: seconds to wait for a frame, the start of the game included.

    Yields:
        the frame [height, width, 3] after the reset and after each action; the last one again
        where this race ends earlier.

    Raises:
        GameError: the other process ended or hung, or the game cannot run there.
        ValueError: a value in `about`, or an action, is not possible there.
    """
    viewing = replace(
        config,
        height=height,
        width=width,
        colour="rgb",
        hud=hud,
        stack=1,
        depth=False,
        labels=False,
        layout="thwc",
        observation="frames",
    )
    names = ("track", "reverse", "episode_seed")
    check(set(names) <= set(about), "about", about, f"the info of a reset, with {', '.join(names)}")
    options = {name: about[name] for name in names}
    receiver, sender = Pipe()
    with sender:
        descriptor = sender.fileno()
        process = start_child(
            __name__, [descriptor], output=subprocess.DEVNULL, pass_fds=[descriptor]
        )
    try:
        with suppress(OSError):  # it died: raised below
            receiver.send((viewing, options, list(actions)))
        for number in range(len(actions) + 1):
            if not receiver.poll(timeout):
                raise GameError(f"no frame {number} of the replay within {timeout} s")
            try:
                frame = receiver.recv()
            except (EOFError, ConnectionError):
                raise GameError(
                    f"the replay's process ended at frame {number}, exit status "
                    f"{process.wait(timeout)}"
                ) from None
            if isinstance(frame, GameError | ValueError):
                raise frame
            yield frame
    finally:
        receiver.close()
        process.kill()
        process.wait()


def main() -> None:
    """Draw, in a process of its own, what arrives in the pipe named in `sys.argv`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who look.
    sender = Connection(int(sys.argv[1]))
    try:
        config, options, actions = sender.recv()
    except EOFError:  # Nobody looks any more.
        return
    _draw(sender, config, options, actions)


def _draw(
    sender: Connection, config: RaceConfig, options: dict[str, Any], actions: Sequence[Any]
) -> None:
    try:
        env = KartEnv(config)
        observation, _ = env.reset(options=options)
        sender.send(observation[-1])
        ended = False
        for action in actions:
            if not ended:  # Other karts may have brought it to another end.
                observation, _, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
            sender.send(observation[-1])
        env.close()
    except (GameError, ValueError) as error:
        sender.send(error)
    except BrokenPipeError:  # Nobody looks any more.
        pass
