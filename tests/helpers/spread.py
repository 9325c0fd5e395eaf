"""Learns from a scripted world over however many devices there are; a process of its own.

`python -m tests.helpers.spread OUT` writes gradients, parameters and compilations to OUT.
"""

import logging
import sys

import jax
import numpy as np

from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.network import ActorCritic
from kart_jax.training.devices import AXIS, Devices
from kart_jax.training.learner import Learner
from tests.helpers.scripted import ACTIONS, Script, make_ppo

ENVS, GROUPS, LENGTH, UPDATES = 16, 2, 4, 3
NETWORK = NetworkConfig(
    channels=2,
    blocks=(0, 0),
    stem_stride=(1, 1, 1),
    middle_stride=(1, 1, 1),
    actor_channels=1,
    norm="batch",
    normalise_frames=True,
    dtype="float32",
    remat=False,
)


def main() -> None:
    ppo = make_ppo(
        ActorCritic(NETWORK, ACTIONS.outputs, axis_name=AXIS),
        random_shift=1,
        rollout_length=LENGTH,
        normalise_rewards=True,
    )
    ppo = type(ppo)(ppo.agent, ppo.config, AXIS)
    learner = Learner(ppo, Devices(), seed=1)
    script = Script(steps=LENGTH * UPDATES, envs=ENVS, end_rate=0.2)
    compilations = count_compilations()
    results: dict[str, np.ndarray] = {}
    with jax.transfer_guard("disallow"):
        rollouts = learner.create_rollouts(ENVS, GROUPS)
        for update in range(UPDATES):
            rollouts = learn(learner, script, update, rollouts, results)
            results[f"compilations_{update}"] = np.array(len(compilations))
    np.savez(sys.argv[1], devices=learner.devices.count, **results)


def learn(learner, script, update, rollouts, results):
    """One update on the script's next steps; what came of it is put into `results`."""
    members = np.split(np.arange(ENVS), GROUPS)
    start = update * LENGTH
    actor, actions = learner.actor(), []
    for t in range(start, start + LENGTH):
        for g, m in enumerate(members):
            newest = (script.seen(t, m), script.first[t, m])
            rollouts[g], acted = learner.act(actor, rollouts[g], *newest)
            actions.append(acted)
            if script.truncated[t, m].any():
                final = {"frames": script.final_frames[t, m]}
                rollouts[g] = learner.record_final_values(
                    actor, rollouts[g], final, script.truncated[t, m]
                )
    steps = slice(start, start + LENGTH)
    outcomes = [jax.tree.map(lambda x, m=m: x[:, m], script.outcomes(steps)) for m in members]
    end = start + LENGTH
    following = [(script.seen(end, m), script.first[end, m]) for m in members]
    begun, rollouts = learner.begin_update(rollouts, outcomes, following, step=0, total_steps=1)
    devices = learner.devices
    if update == 0:
        gradients = devices.map(learner.ppo.gradients)
        found, _ = gradients(begun._state, begun._batch, begun._schedules)
        results["gradients"] = flat(devices.first(found))
    metrics = begun.finish(lambda: None)
    state = devices.shards(learner.state)
    changed = (state.params, state.batch_stats, state.reward_scale)
    copies = [flat(jax.tree.map(lambda x, d=d: x[d], changed)) for d in range(devices.count)]
    assert all((copy == copies[0]).all() for copy in copies), "the devices' copies went apart"
    results[f"actions_{update}"] = np.stack(actions)
    results[f"state_{update}"] = copies[0]
    results[f"metrics_{update}"] = np.array([metrics[name] for name in sorted(metrics)])
    return rollouts


def flat(tree) -> np.ndarray:
    """All values of a tree of host arrays."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def count_compilations() -> list[str]:
    """A list that grows with every program that is compiled."""
    found: list[str] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Compiling"):
                found.append(record.getMessage())

    jax.config.update("jax_log_compiles", True)
    logger = logging.getLogger("jax")
    logger.addHandler(Recorder())
    logger.propagate = False
    return found


if __name__ == "__main__":
    main()
