"""The game with nothing around it, which no environment on it can outrun."""

import subprocess
import sys

import numpy as np

from kart_jax.game import RaceConfig
from kart_jax.game.engine.data import ensure_data

BARE = """
import os, sys
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
print("ready", flush=True)
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

    def __init__(self, race: RaceConfig, count: int) -> None:
        """Start them, and wait until they are ready."""
        arguments = [str(ensure_data()), str(race.height), str(race.width), str(race.draws)]
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", BARE, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(count)
        ]
        self._wait("ready")

    def _wait(self, word: str) -> None:
        for process in self.processes:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == word:
                    break

    def step(self, actions: np.ndarray) -> None:
        """Each takes its column of `actions`."""
        for index, process in enumerate(self.processes):
            assert process.stdin is not None
            print(*actions[:, index, 1], file=process.stdin, flush=True)
        self._wait("done")

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.communicate()
