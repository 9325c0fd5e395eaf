"""A scripted world for the learner's tests: frames and ends drawn beforehand, no game."""

from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kart_jax.policy.distributions import ActionSpec
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.buffer import Rollout
from kart_jax.ppo.config import PPOConfig
from kart_jax.ppo.update import PPO, Outcomes, Schedules, TrainState

STACK, FRAME = 3, (4, 5, 1)
ACTIONS = ActionSpec("multi_discrete", nvec=(2, 3))


class Linear(nn.Module):
    """Logits and a value that are linear in the frames: quick to compile."""

    outputs: int = ACTIONS.outputs

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        x = frames.reshape(frames.shape[0], -1).astype(jnp.float32) / 255
        return nn.Dense(self.outputs)(x), nn.Dense(1)(x)[:, 0]


@dataclass
class Script:
    """What `envs` environments show and answer in `steps` steps, whatever is done."""

    steps: int
    envs: int
    seed: int = 0
    end_rate: float = 0.3
    first: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shape = (self.steps, self.envs)
        self.frames = rng.integers(0, 256, (self.steps + 1, self.envs, *FRAME), np.uint8)
        self.final_frames = rng.integers(0, 256, (*shape, *FRAME), np.uint8)
        self.rewards = rng.normal(size=shape).astype(np.float32)
        ended = rng.random(shape) < self.end_rate
        self.terminated = ended & (rng.random(shape) < 0.5)
        self.truncated = ended & ~self.terminated
        self.first = np.concatenate([np.ones((1, self.envs), bool), ended])

    def outcomes(self, steps: slice = slice(None)) -> Outcomes:
        return Outcomes(self.rewards[steps], self.terminated[steps], self.truncated[steps])

    def seen(self, step: int, envs: Any = slice(None)) -> dict[str, np.ndarray]:
        """What `envs` show before `step`."""
        return {"frames": self.frames[step, envs]}

    def stacks(self) -> np.ndarray:
        """`[T + 1, B, S, H, W, C]`, put together one frame at a time."""
        stacks = np.zeros((self.steps + 1, self.envs, STACK, *FRAME), np.uint8)
        for env in range(self.envs):
            window: deque[np.ndarray] = deque(maxlen=STACK)
            for t in range(self.steps + 1):
                if self.first[t, env]:
                    window.extend([self.frames[t, env]] * STACK)
                else:
                    window.append(self.frames[t, env])
                stacks[t, env] = np.stack(window)
        return stacks


def make_ppo(network: nn.Module | None = None, random_shift: int = 0, **options: Any) -> PPO:
    """PPO of a tiny agent; `options` are fields of `PPOConfig`."""
    network = network or Linear()
    agent = Agent(network, ACTIONS, (STACK, *FRAME), random_shift=random_shift)  # type: ignore[arg-type]
    defaults = {"rollout_length": 8, "minibatches": 2, "epochs": 2}
    return PPO(agent, PPOConfig(**(defaults | options)))


def create_state(ppo: PPO, seed: int = 0) -> TrainState:
    return jax.jit(ppo.create)(jax.random.key(seed), ppo.agent.example())


def schedules(**values: float) -> Schedules:
    defaults = {"learning_rate": 1e-2, "clip_range": 0.2, "entropy_coefficient": 0.01}
    defaults |= {"actor_weight": 1.0, "kickstart_coefficient": 0.0}
    return Schedules(**{name: jnp.float32(v) for name, v in (defaults | values).items()})


def collect(
    ppo: PPO, state: TrainState, script: Script, rollout: Rollout | None = None, start: int = 0
) -> Rollout:
    """Act through `rollout_length` steps of the script, from step `start`."""
    length = ppo.config.rollout_length
    if rollout is None:
        rollout = ppo.agent.create_rollout(jnp.arange(script.envs), length)
    act, final = programs(ppo.agent)
    variables = state.variables
    for t in range(start, start + length):
        rollout, _ = act(variables, rollout, state.key_for(0), script.seen(t), script.first[t])
        if script.truncated[t].any():
            last = {"frames": script.final_frames[t]}
            rollout = final(variables, rollout, last, script.truncated[t])
    return rollout


@cache
def programs(agent: Agent) -> tuple[Any, Any]:
    """Acting and recording final values, compiled once for each agent."""
    return jax.jit(agent.act), jax.jit(agent.record_final_values)


def prepare(ppo: PPO, state: TrainState, script: Script) -> tuple[TrainState, Any]:
    """Collect one rollout of the script and make a batch of it."""
    rollout = collect(ppo, state, script)
    newest = (script.seen(-1), script.first[-1])
    state, batch, _, _ = jax.jit(ppo.prepare)(state, [rollout], [script.outcomes()], [newest])
    return state, batch
