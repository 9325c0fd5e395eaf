"""Numbers of workers that cannot be."""

from typing import Any

import pytest

from kart_jax.workers.config import WorkerConfig


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_envs": 0}, "num_envs = 0 .* 1 to 10000"),
        ({"num_envs": 3, "groups": 2}, "groups = 2 .* divisor of num_envs = 3"),
        ({"groups": 3, "num_envs": 9}, "groups = 3 .* one of None, 1, 2"),
        ({"workers": "thread"}, "workers = 'thread' .* one of process, serial"),
        ({"step_timeout": 0.0}, "step_timeout = 0.0 .* 0.01 to 1000000 s"),
        ({"start_timeout": -1.0}, "start_timeout = -1.0 .* 0.01 to 1000000 s"),
        ({"spares": -1}, "spares = -1 .* 0 to 10000"),
        ({"max_losses": 0}, "max_losses = 0 .* at least 1"),
    ],
)
def test_refusals_name_field_value_and_what_is_allowed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkerConfig(**wrong)
