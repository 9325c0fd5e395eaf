"""What is blurred counts where it matters, and only there."""

import numpy as np
import pytest

from kart_jax.policy.occlusion import Occlusion
from kart_jax.policy.policy import Policy
from kart_jax.run_folder.loading import load_policy
from tests.helpers.tiny import RACE, write_tiny_policy

SHAPE = (3, RACE.height, RACE.width, 1)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(write_tiny_policy(tmp_path_factory.mktemp("policies") / "tiny"))


def test_nothing_changes_where_there_is_nothing_to_blur(policy: Policy) -> None:
    flat = np.full(SHAPE, 77, np.uint8)
    for changes in Occlusion(policy).changes(flat):
        np.testing.assert_allclose(changes, 0, atol=1e-9)


@pytest.mark.parametrize(("row", "column"), [(2, 13), (9, 3)])
def test_a_bright_dot_matters_where_it_is(policy: Policy, row: int, column: int) -> None:
    frames = np.zeros(SHAPE, np.uint8)
    frames[:, row, column] = 255
    occlusion = Occlusion(policy, rows=6)
    assert occlusion.grid == (6, 8)
    for changes in occlusion.changes(frames):
        assert changes.shape == (6, 8)
        assert np.unravel_index(changes.argmax(), changes.shape) == (row // 2, column // 2)
        far = changes[5 - row // 2, 7 - column // 2]
        assert far < 0.01 * changes.max()


def test_another_shape_is_refused(policy: Policy) -> None:
    with pytest.raises(ValueError, match="this policy takes uint8"):
        Occlusion(policy).changes(np.zeros((3, 5, 5, 1), np.uint8))
