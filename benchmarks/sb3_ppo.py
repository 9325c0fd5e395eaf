"""Stable-Baselines3's PPO with our network in PyTorch and a run's own options, to compare with."""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecNormalize
from torch import Tensor, nn

from benchmarks.runs import Line
from benchmarks.torch_network import TorchActorCritic
from kart_jax.config import TrainConfig
from kart_jax.game import make_env
from kart_jax.game.actions import ACTION_SETS
from kart_jax.policy.config import NetworkConfig
from kart_jax.training.metrics import EpisodeWindow
from kart_jax.training.schedule import Every
from kart_jax.validation import check
from kart_jax.workers.observer import VectorAct


class TorchPolicy(ActorCriticPolicy):
    """`TorchActorCritic` behind Stable-Baselines3's interface, initialised as ours."""

    def __init__(self, *args: Any, network: NetworkConfig, **kwargs: Any) -> None:
        self._config = network
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        assert isinstance(self.action_space, spaces.MultiDiscrete)
        outputs = int(self.action_space.nvec.sum())
        self.network = TorchActorCritic(self._config, outputs, self.observation_space.shape)
        for module in self.network.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.orthogonal_(module.weight, math.sqrt(2))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.orthogonal_(self.network.logits.weight, 0.01)
        nn.init.orthogonal_(self.network.value.weight, 1.0)
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _apply_network(self, frames: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution of the actions and values `[B]` of uint8 frames `[B, T, H, W, C]`."""
        logits, values = self.network(frames)
        return self.action_dist.proba_distribution(action_logits=logits), values

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and log-probabilities."""
        distribution, values = self._apply_network(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log-probabilities and entropies."""
        distribution, values = self._apply_network(obs)
        return values, distribution.log_prob(actions), distribution.entropy()

    def predict_values(self, obs: Tensor) -> Tensor:
        """Values alone."""
        return self._apply_network(obs)[1]

    def get_distribution(self, obs: Tensor) -> Distribution:
        """Distribution of the actions alone."""
        return self._apply_network(obs)[0]


class Recorder(BaseCallback):
    """Logs each update as our trainer does, and stops after the first one past the deadline.

    It saves the policy to `folder`, where there is one, as often as our trainer saves a checkpoint.
    """

    def __init__(self, config: TrainConfig, minutes: float, folder: Path | None) -> None:
        super().__init__()
        self._folder = folder
        self._saving = Every(config.run.checkpoint_steps if folder else 0, self._save)
        self.lines: list[Line] = []
        self._ppo = config.ppo
        self._deadline = time.monotonic() + 60 * minutes
        self._window = EpisodeWindow()
        self._seconds = {"time/collect": 0.0, "time/learn": 0.0}
        self._marked = time.perf_counter()

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self._marked = self._marked, time.perf_counter()
        return self._marked - before

    def _on_rollout_start(self) -> None:
        self._log_update()
        self._stopping = time.monotonic() > self._deadline
        if self._ppo.entropy_schedule == "linear":  # the one schedule that the peer lacks
            left = self.model._current_progress_remaining
            self.model.ent_coef = self._ppo.entropy_coefficient * left

    def _on_step(self) -> bool:
        if self._stopping:
            return False
        infos = self.locals["infos"]
        self._window.extend([info["summary"] for info in infos if "summary" in info])
        return True

    def _on_rollout_end(self) -> None:
        self._seconds["time/collect"] += self._lap()

    def _on_training_end(self) -> None:
        if not self._stopping:
            self._log_update()

    def _log_update(self) -> None:
        elapsed = self._lap()
        if self.num_timesteps == 0:
            return
        self._seconds["time/learn"] += elapsed
        line = {"step": self.num_timesteps, "wall_time": time.time()}
        self.lines.append(line | self._seconds | self._window.means())
        self._saving.run(self.num_timesteps)

    def _save(self) -> None:
        assert self._folder is not None
        th.save(self.model.policy.state_dict(), self._folder / str(self.num_timesteps))


def train(config: TrainConfig, minutes: float, folder: Path | None = None) -> list[Line]:
    """Train with the options of `config` for so long; what was logged.

    `folder` gets the policies of the way, named by their steps, for `load`.

    Raises:
        ValueError: an option has no counterpart.
    """
    check(config.ppo.random_shift == 0, "random_shift", config.ppo.random_shift, "0 to compare")
    check(not config.network.normalise_frames, "normalise_frames", True, "False to compare")
    check(config.ppo.minibatch_by == "sample", "minibatch_by", "step", "sample to compare")
    make = partial(make_env, config.race)
    envs: VecEnv = SubprocVecEnv([make] * config.workers.num_envs, start_method="spawn")
    try:
        if config.ppo.normalise_rewards:
            envs = VecNormalize(envs, norm_obs=False, gamma=config.ppo.discount)
        recorder = Recorder(config, minutes, folder)
        # Its own log would read the episodes' fields by other names.
        make_model(config, envs).learn(config.run.total_steps, recorder, log_interval=None)
        return recorder.lines
    finally:
        envs.close()


def make_model(config: TrainConfig, envs: VecEnv) -> PPO:
    """The peer's PPO with a run's options."""
    ppo = config.ppo
    policy, policy_kwargs = _policy(config.network)
    return PPO(
        policy,
        envs,
        learning_rate=_schedule(ppo.learning_rate, ppo.learning_rate_schedule),
        n_steps=ppo.rollout_length,
        batch_size=config.steps_per_update // ppo.minibatches,
        n_epochs=ppo.epochs,
        gamma=ppo.discount,
        gae_lambda=ppo.gae_lambda,
        clip_range=_schedule(ppo.clip_range, ppo.clip_range_schedule),
        clip_range_vf=ppo.value_clip,
        normalize_advantage=ppo.normalise_advantages,
        ent_coef=ppo.entropy_coefficient,
        vf_coef=ppo.value_coefficient / 2,  # its value loss lacks our factor of a half
        max_grad_norm=ppo.max_grad_norm,
        target_kl=ppo.target_kl,
        policy_kwargs=policy_kwargs,
        seed=config.run.seed,
        device="cpu",
    )


def count_parameters(config: TrainConfig) -> int:
    """Parameters of the peer's network."""
    return sum(parameter.numel() for parameter in _new_policy(config).parameters())


def load(config: TrainConfig, path: Path) -> VectorAct:
    """A saved policy, which drives greedily."""
    policy = _new_policy(config)
    policy.load_state_dict(th.load(path))
    sight = config.network.actor
    return lambda observation: policy.predict(observation[sight], deterministic=True)[0]


def _new_policy(config: TrainConfig) -> ActorCriticPolicy:
    policy, options = _policy(config.network)
    shape = config.observation_shape
    seen: spaces.Box = spaces.Box(-np.inf, np.inf, (config.state_size,), np.float32)
    if shape is not None:
        seen = spaces.Box(0, 255, shape, np.uint8)
    actions = ACTION_SETS[config.race.action_set]().space
    return policy(seen, actions, lambda _: 0.0, **options)


def _policy(network: NetworkConfig) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
    """The peer's policy of our network, and what it is made of."""
    if network.actor == "frames":
        return TorchPolicy, {"network": network}
    # Its own, which has our layers: tanh, orthogonal, a gain of 0.01 for the actor.
    hidden = list(network.hidden)
    return ActorCriticPolicy, {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": nn.Tanh}


def _schedule(start: float, kind: str) -> float | Callable[[float], float]:
    """A constant, or linear in the share of the run that is left."""
    return (lambda left: start * left) if kind == "linear" else start
