"""Weights of the reference network in PyTorch, as the variables of `ActorCritic`."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kart_jax.policy.config import NetworkConfig
from kart_jax.validation import UserError

Layer = dict[str, np.ndarray]


def variables_from_torch(state_dict: Mapping[str, Any], config: NetworkConfig) -> dict[str, Any]:
    """Turn a PyTorch `state_dict` into the variables of `ActorCritic(config, outputs)`.

    Names do not matter, the order does: convolutions, batch norms and linear layers each in the
    order in which the forward pass meets them, the actor before the critic. PyTorch's batch norm
    keeps an unbiased running variance, Flax's a biased one: they are taken over as they are.

    Raises:
        ValueError: the norm is not batch norm, or layers are missing, left over or of another
            width.
    """
    if config.norm != "batch":
        raise UserError(f"norm = {config.norm!r}: the reference network has norm = 'batch'")
    layers = _layers(state_dict)
    kinds = (
        [x for x in layers if x["weight"].ndim == 5],
        [x for x in layers if "running_mean" in x],
        [x for x in layers if x["weight"].ndim == 2],
    )
    found = tuple(map(len, kinds))
    count = 5 + 2 * sum(config.blocks)
    if found != (count, count, 2):
        raise UserError(
            f"the state dict has {found} convolutions, batch norms and linear layers; "
            f"blocks = {config.blocks} needs {(count, count, 2)}"
        )
    convs, norms, linears = map(iter, kinds)
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}
    for name in ("stem", "early", "middle", "late", "actor_1", "actor_2", "critic_1"):
        if name not in ("early", "late"):
            params[name], stats[name] = _conv_block(convs, norms)
        elif length := config.blocks[0 if name == "early" else 1]:
            blocks = [_res_block(convs, norms) for _ in range(length)]
            params[name], stats[name] = (
                {"block": jax.tree.map(lambda *x: jnp.stack(x), *trees)}
                for trees in zip(*blocks, strict=True)
            )
    for name in ("logits", "value"):
        linear = next(linears)
        params[name] = {"kernel": jnp.asarray(linear["weight"].T), **_bias(linear)}
    width = params["stem"]["conv"]["kernel"].shape[-1]
    if width != config.channels:
        raise UserError(f"the state dict has {width} channels, config has {config.channels}")
    return {"params": params, "batch_stats": stats}


def _layers(state_dict: Mapping[str, Any]) -> list[Layer]:
    """The tensors of each layer that has a weight, in order."""
    layers: dict[str, Layer] = {}
    for name, tensor in state_dict.items():
        layer, _, field = name.rpartition(".")
        layers.setdefault(layer, {})[field] = np.asarray(tensor)
    return [layer for layer in layers.values() if "weight" in layer]


def _conv_block(convs: Iterator[Layer], norms: Iterator[Layer]) -> tuple[Any, Any]:
    """Parameters and statistics of a ConvBlock."""
    scale, statistics = _norm(next(norms))
    return {"conv": _conv(next(convs)), "norm": scale}, {"norm": statistics}


def _res_block(convs: Iterator[Layer], norms: Iterator[Layer]) -> tuple[Any, Any]:
    """Parameters and statistics of a ResBlock."""
    params, stats = {}, {}
    for i in (1, 2):
        params[f"conv_{i}"] = _conv(next(convs))
        params[f"norm_{i}"], stats[f"norm_{i}"] = _norm(next(norms))
    return params, stats


def _conv(layer: Layer) -> dict[str, jax.Array]:
    """`[O, I, T, H, W]` becomes `[T, H, W, I, O]`."""
    return {"kernel": jnp.asarray(layer["weight"].transpose(2, 3, 4, 1, 0)), **_bias(layer)}


def _bias(layer: Layer) -> dict[str, jax.Array]:
    return {"bias": jnp.asarray(layer["bias"])} if "bias" in layer else {}


def _norm(layer: Layer) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    params = {"scale": jnp.asarray(layer["weight"]), "bias": jnp.asarray(layer["bias"])}
    stats = {"mean": layer["running_mean"], "var": layer["running_var"]}
    return params, {name: jnp.asarray(value) for name, value in stats.items()}
