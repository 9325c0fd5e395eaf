"""The game with nothing around it, which no environment on it can outrun."""

import os
import subprocess
import sys
import tempfile

import numpy as np

from kart_jax.game import RaceConfig
from kart_jax.game.engine.data import ensure_data

BARE = """
import ctypes, os, sys
os.environ["SUPERTUXKART_DATADIR"] = sys.argv[1]
from kart_jax.game.engine.rendering import prepare_environment
prepare_environment()
import pystk2
draws = sys.argv[4] == "True"
graphics = pystk2.GraphicsConfig.ld() if draws else pystk2.GraphicsConfig.none()
if draws:
    graphics.screen_height, graphics.screen_width = int(sys.argv[2]), int(sys.argv[3])
    graphics.display = False
pystk2.set_log_level(int(pystk2.LogLevel.fatal))
pystk2.init(graphics)
config = pystk2.RaceConfig()
config.track, config.step_size, config.difficulty = "lighthouse", 0.1, 2
config.overlay = False
race = pystk2.Race(config)
race.start()
for _ in range(60):  # the countdown
    race.step(pystk2.Action())
renderer = b"nobody"
if draws:
    name_of = ctypes.CDLL("libGL.so.1").glGetString
    name_of.argtypes, name_of.restype = [ctypes.c_uint], ctypes.c_char_p
    renderer = name_of(0x1F01) or b"unknown"
print("ready", renderer.decode(errors="replace"), flush=True)
for steers in sys.stdin:
    for steer in map(int, steers.split()):
        race.step(pystk2.Action(acceleration=1.0, steer=steer - 1.0))
        if draws:
            race.render_data[0].image
    print("done", flush=True)
os._exit(0)
"""


class BareGame:
    """One process per race that only steps, draws if `race` does, and never ends."""

    def __init__(self, race: RaceConfig, count: int, **environment: str) -> None:
        """Start them, and wait until they are ready.

        Raises:
            RuntimeError: one of them ended, with its last words.
        """
        arguments = [str(ensure_data()), str(race.height), str(race.width), str(race.draws)]
        self.words = [tempfile.TemporaryFile("w+") for _ in range(count)]  # noqa: SIM115
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", BARE, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env=os.environ | environment,
            )
            for words in self.words
        ]
        try:
            self.renderer, *_ = [self._wait(index, "ready") for index in range(count)]
            """Who draws, in the words of the OpenGL driver."""
        except RuntimeError:
            self.close()
            raise

    def _wait(self, index: int, word: str) -> str:
        """Return what a process writes after `word`, once it does."""
        process = self.processes[index]
        assert process.stdout is not None
        for line in process.stdout:
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
        self.words[index].seek(0)
        said = self.words[index].read().strip().splitlines() or ["nothing"]
        raise RuntimeError(f"the game ended with status {process.wait()} and said {said[-1]}")

    def step(self, actions: np.ndarray) -> None:
        """Take `actions [T, N, 2]` with the first N races, each with its column."""
        count = actions.shape[1]
        for index, process in enumerate(self.processes[:count]):
            assert process.stdin is not None
            print(*actions[:, index, 1], file=process.stdin, flush=True)
        for index in range(count):
            self._wait(index, "done")

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.communicate()
        for words in self.words:
            words.close()
