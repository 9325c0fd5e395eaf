"""Train with Stable-Baselines3: `python examples/other_library.py --steps 100000`.

Needs `pip install -e ".[peers]"`.
"""

import argparse

import gymnasium

import kart_jax  # noqa: F401  (registers the environment)

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import SubprocVecEnv
except ModuleNotFoundError as error:
    raise SystemExit(f'{error}: pip install -e ".[peers]"') from None


def make() -> gymnasium.Env:
    """Return an environment with four grey frames as channels, as image policies take them."""
    env = gymnasium.make(
        "kart_jax/SuperTuxKart-v0", track="lighthouse", action_set="drive", stack=4, layout="hwc"
    )
    return Monitor(env)  # adds `info["episode"]`, which this library logs


def main() -> None:
    """Train a policy and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--envs", type=int, default=4)
    parser.add_argument("--rollout", type=int, default=512, help="steps of each environment")
    arguments = parser.parse_args()
    # One race needs one process.
    envs = SubprocVecEnv([make] * arguments.envs, start_method="spawn")
    try:
        model = PPO("CnnPolicy", envs, n_steps=arguments.rollout, batch_size=128, verbose=1)
        model.learn(arguments.steps)
        model.save("sb3_lighthouse")
    finally:
        envs.close()


if __name__ == "__main__":
    main()
