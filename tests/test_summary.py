"""The summary of the preset `reference` is the reference's table."""

import pytest

from kart_jax import summary
from kart_jax.policy.config import REFERENCE, NetworkConfig

BLOCK = 2 * (1_769_472 + 512)
TABLE = {
    "stem": ((3, 200, 300, 256), 20_992 + 512),
    "early": ((3, 200, 300, 256), 5 * BLOCK),
    "middle": ((1, 66, 100, 256), 1_769_728 + 512),
    "late": ((1, 66, 100, 256), 5 * BLOCK),
    "actor_1": ((1, 66, 100, 64), 442_432 + 128),
    "actor_2": ((1, 66, 100, 1), 1_729 + 2),
    "logits": ((15,), 99_015),
    "critic_1": ((1, 66, 100, 1), 6_913 + 2),
    "value": ((1,), 6_601),
}


def test_seed_is_the_references_table():
    rows = summary.layers(REFERENCE, 15, (5, 400, 600, 3))
    assert {row.name: (row.output, row.parameters) for row in rows} == TABLE
    assert sum(row.parameters for row in rows) == 37_748_246
    assert sum(row.multiply_adds for row in rows) == pytest.approx(3.32e12, rel=2e-3)
    early = next(row for row in rows if row.name == "early")
    assert early.multiply_adds == 180_000 * 10 * 1_769_472


def test_a_network_without_blocks_has_no_row_for_them():
    config = NetworkConfig(channels=4, blocks=(0, 0), actor_channels=2)
    assert [row.name for row in summary.layers(config, 3, (5, 16, 16, 1))] == [
        name for name in TABLE if name not in ("early", "late")
    ]


def test_the_command_prints_totals(capsys):
    summary.main(["--preset", "cpu"])
    printed = capsys.readouterr().out
    assert "multiply-adds" in printed
    assert "total" in printed
    assert "The compiler counts" in printed
