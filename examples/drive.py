"""Drive an episode with a policy: `python examples/drive.py lighthouse`, or a run's folder."""

import argparse
from dataclasses import replace

import kart_jax
from kart_jax.config import race_of
from kart_jax.game import make_env


def main() -> None:
    """Race once, with the most probable actions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", help="a run's folder or a shipped policy's name")
    policy = kart_jax.load_policy(parser.parse_args().policy)
    # A policy may have trained from random starts; this race begins on the grid.
    env = make_env(replace(race_of(policy.race), random_start=0.0))
    frames, _ = env.reset(seed=0)
    done = False
    while not done:
        frames, _, terminated, truncated, info = env.step(policy.act(frames))
        done = terminated or truncated
    env.close()
    episode = info["summary"]
    print(f"{episode['progress_m']:.0f} m, {episode['end']} after {episode['game_seconds']:.1f} s")


if __name__ == "__main__":
    main()
