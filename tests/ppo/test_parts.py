import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.ppo.parts import mean_over_parts


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_mean_over_parts_is_that_of_the_whole(parts: int) -> None:
    rng = np.random.default_rng(0)
    samples = {"x": rng.normal(size=(6, 4)), "y": rng.normal(size=6)}
    sizes = []

    def loss(weights: jax.Array, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sizes.append(len(batch["y"]))
        error = jnp.square(batch["x"] @ weights - batch["y"]).mean()
        return error, error

    weights = rng.normal(size=4)
    grads, error = mean_over_parts(jax.grad(loss, has_aux=True), weights, samples, parts)
    assert set(sizes) == {6 // parts}
    residual = samples["x"] @ weights - samples["y"]
    np.testing.assert_allclose(grads, 2 * residual @ samples["x"] / 6, rtol=1e-5)
    assert float(error) == pytest.approx(np.square(residual).mean(), rel=1e-5)
