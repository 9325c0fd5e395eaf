import json

import numpy as np
import pytest

from kart_jax.run_folder.plain import from_plain, to_plain


def test_nested_values_survive_json() -> None:
    value = {
        "frames": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "deep": [{"flag": np.bool_(True), "number": np.float32(0.5), "none": None}],
        "big": 2**100,
    }
    back = from_plain(json.loads(json.dumps(to_plain(value))))
    np.testing.assert_array_equal(back["frames"], value["frames"])
    assert back["frames"].dtype == np.uint8
    assert back["deep"] == [{"flag": True, "number": 0.5, "none": None}]
    assert back["big"] == 2**100


def test_restored_arrays_can_be_written() -> None:
    restored = from_plain(to_plain(np.zeros(3)))
    restored[0] = 1.0
    assert restored.tolist() == [1.0, 0.0, 0.0]


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        to_plain({"thing": object()})
