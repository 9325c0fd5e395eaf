"""The compiled update of every preset, and the state that outlives one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.config import PRESETS
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO, Outcomes, Schedules
from kart_jax.run_folder.source import policy_spec
from kart_jax.training.devices import AXIS, Devices
from kart_jax.training.learner import Learner, NonFiniteError, summarise
from tests.helpers.scripted import Script, make_ppo
from tests.helpers.spread import learn

PLATFORMS = ("cuda", "tpu")


@pytest.mark.parametrize("preset", PRESETS)
def test_acting_and_the_whole_update_lower_for_accelerators(preset):
    """Programs are made for devices that are not here: shapes, types and operations fit."""
    config = PRESETS[preset]
    spec = policy_spec(config)
    agent = Agent.of(spec, axis_name=AXIS)
    ppo = PPO(agent, config.ppo, AXIS)
    envs, length = config.workers.num_envs // 2, config.ppo.rollout_length
    numbers = jax.ShapeDtypeStruct((envs,), jnp.int32)
    example = spec.example()
    seen = {
        name: jax.ShapeDtypeStruct((envs, *x.shape[2 if name == "frames" else 1 :]), x.dtype)
        for name, x in example.items()
    }
    first = jax.ShapeDtypeStruct((envs,), jnp.bool_)
    state = jax.eval_shape(ppo.create, jax.random.key(0), example)
    rollout = jax.eval_shape(lambda n: agent.create_rollout(n, length), numbers)

    def act_and_update(state, rollout, seen, first):
        rollout, actions = agent.act(state.variables, rollout, state.key_for(0), seen, first)
        zeros = jnp.zeros((length, envs))
        outcome = {"rewards": zeros, "terminated": zeros > 0, "truncated": zeros > 0}
        state, batch, _, _ = ppo.prepare(state, [rollout], [Outcomes(**outcome)], [(seen, first)])
        schedules = Schedules(*(jnp.float32(x) for x in (1e-3, 0.2, 0.01, 1.0, 0.0)))
        state, metrics = ppo.gradient_step(state, batch, schedules)
        return ppo.refresh_statistics(state, batch), actions, metrics

    mapped = jax.pmap(act_and_update, axis_name=AXIS)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (state, rollout, seen, first)
    )
    exported = jax.export.export(jax.jit(lambda *a: mapped(*a)), platforms=PLATFORMS)(*shapes)
    assert exported.platforms == PLATFORMS
    after = jax.tree.unflatten(exported.out_tree, exported.out_avals)[0]
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, shapes[0])


def make_learner(**options) -> Learner:
    ppo = make_ppo(rollout_length=4, **options)
    return Learner(PPO(ppo.agent, ppo.config, AXIS), Devices(), seed=0)


def test_an_update_that_is_dropped_leaves_no_trace():
    learner = make_learner()
    script = Script(steps=12, envs=16)
    rollouts = learn(learner, script, 0, learner.create_rollouts(16, 2), {})
    before = learner.devices.first(learner.state)
    actor = learner.actor()
    update, _ = begin(learner, script, rollouts)
    assert update.step()
    del update
    jax.tree.map(np.testing.assert_array_equal, learner.devices.first(learner.state), before)
    acted_with = learner.devices.first(actor.variables)
    jax.tree.map(np.testing.assert_array_equal, acted_with, before.variables)


def begin(learner, script, rollouts):
    """Act through 4 steps with both groups and begin an update."""
    members = np.split(np.arange(16), 2)
    for t in range(4, 8):
        for g, m in enumerate(members):
            newest = (script.seen(t, m), script.first[t, m])
            rollouts[g], _ = learner.act(learner.actor(), rollouts[g], *newest)
    outcomes = [jax.tree.map(lambda x, m=m: x[:, m], script.outcomes(slice(4, 8))) for m in members]
    newest = [(script.seen(8, m), script.first[8, m]) for m in members]
    return learner.begin_update(rollouts, outcomes, newest, step=0, total_steps=1)


def test_a_state_that_was_saved_goes_on_as_the_original():
    script = Script(steps=12, envs=16)
    one, other = make_learner(), make_learner()
    rollouts = learn(one, script, 0, one.create_rollouts(16, 2), {})
    heads = [one.devices.shards(head) for head in one.save_heads(rollouts)]
    other.load_state(*one.save_state())
    loaded = other.load_heads(other.create_rollouts(16, 2), heads)
    learn(one, script, 1, rollouts, {})
    learn(other, script, 1, loaded, {})
    states = (learner.devices.first(learner.state) for learner in (one, other))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_what_is_not_finite_is_told_with_its_statistics():
    learner = make_learner()
    script = Script(steps=12, envs=16)
    script.rewards[2, 3] = np.inf
    before = learner.devices.first(learner.state)
    with pytest.raises(NonFiniteError) as error:
        learn(learner, script, 0, learner.create_rollouts(16, 2), {})
    assert "update 0" in str(error.value)
    assert error.value.statistics["batch"]["returns"]["not_finite"] >= 1
    assert error.value.statistics["batch"]["values"]["not_finite"] == 0
    assert error.value.statistics["metrics"]["finite"] == 0
    jax.tree.map(np.testing.assert_array_equal, learner.devices.first(learner.state), before)


def test_summaries_leave_out_what_is_not_finite():
    x = np.array([1.0, 3.0, np.nan, np.inf])
    assert summarise(x) == {"not_finite": 2, "min": 1, "mean": 2, "max": 3}
    assert summarise(x[2:]) == {"not_finite": 2}
