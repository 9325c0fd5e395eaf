"""PPO learns: from a task that takes nothing but looking, in seconds."""

import jax
import jax.numpy as jnp
import numpy as np

from kart_jax.ppo.update import Outcomes
from tests.helpers.scripted import FRAME, create_state, make_ppo, programs, schedules

ENVS, STEPS, UPDATES = 16, 16, 12


def bright_thirds(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[B, H, W, C]` of which one part is bright, and its number `[B]`, 0 to 2."""
    side = rng.integers(3, size=ENVS)
    frames = rng.integers(0, 60, (ENVS, *FRAME), np.uint8)
    for number, columns in enumerate((slice(0, 2), slice(2, 3), slice(3, 5))):
        frames[side == number, :, columns] += 150
    return frames, side


def test_ppo_learns_to_steer_to_the_bright_side() -> None:
    """A choice of three, each paid at once: by chance a third of them is right."""
    ppo = make_ppo(rollout_length=STEPS, minibatches=4, epochs=4, entropy_coefficient=0.0)
    state, rng = create_state(ppo), np.random.default_rng(0)
    act, _ = programs(ppo.agent)
    prepare, step = jax.jit(ppo.prepare), jax.jit(ppo.gradient_step)
    rollout = ppo.agent.create_rollout(jnp.arange(ENVS), STEPS)
    first, right = np.ones(ENVS, bool), []
    for _ in range(UPDATES):
        rewards = np.zeros((STEPS, ENVS), np.float32)
        for t in range(STEPS):
            frames, side = bright_thirds(rng)
            key = state.key_for(0)
            rollout, actions = act(state.variables, rollout, key, {"frames": frames}, first)
            rewards[t] = np.asarray(actions)[:, 1] == side
        ended = np.ones((STEPS, ENVS), bool)
        outcomes = Outcomes(rewards, ended, ~ended)
        newest = ({"frames": bright_thirds(rng)[0]}, first)
        state, batch, (rollout,), _ = prepare(state, [rollout], [outcomes], [newest])
        for _ in range(ppo.config.gradient_steps):
            state, _ = step(state, batch, schedules(entropy_coefficient=0.0))
        state = ppo.refresh_statistics(state, batch)
        right.append(float(rewards.mean()))
    assert right[0] < 0.5
    assert right[-1] > 0.8, right
