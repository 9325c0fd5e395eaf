"""Train with your own reward: `python examples/own_reward.py --minutes 10`.

The program takes all flags of `kart_jax.train`. Other weights of the existing terms need no code:
`--reward-weights off_road -1 drift 0.05`.
"""

import sys
from typing import Any

import gymnasium

from kart_jax.cli.options import parse
from kart_jax.game import RaceConfig, make_env


class SmoothDriving(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Subtract a small cost from the reward whenever the action changes."""

    last: Any = None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive, and compare the action with the last one."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        changed = self.last is not None and (action != self.last).any()
        self.last = action
        return observation, float(reward) - 0.02 * changed, terminated, truncated, info


def make(race: RaceConfig) -> gymnasium.Env[Any, Any]:
    """Return the environment that each worker runs."""
    return SmoothDriving(make_env(race))


if __name__ == "__main__":
    # Workers import the function by its module's name, which is not __main__ there.
    from own_reward import make as importable

    from kart_jax.train import run

    sys.exit(run(parse(), importable))
