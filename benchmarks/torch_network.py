"""The reference network in PyTorch, after the facts in docs/network.md, to compare with."""

import math
from functools import partial

import torch
from torch import nn

from kart_jax.policy.config import MIDDLE_PADDING, STEM_PADDING, NetworkConfig, output_shapes


class ConvBlock(nn.Module):
    """Convolution with bias, ReLU, norm."""

    def __init__(
        self,
        norm: str,
        inputs: int,
        features: int,
        stride: tuple[int, int, int] = (1, 1, 1),
        padding: int = 1,
    ):
        super().__init__()
        self.conv = nn.Conv3d(inputs, features, 3, stride, padding)
        self.norm = _norm(norm, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `[B, C, T, H, W]`."""
        return self.norm(self.conv(x).relu())


class ResBlock(nn.Module):
    """Convolution, ReLU, norm, convolution, ReLU, sum with the input, norm."""

    def __init__(self, norm: str, features: int):
        super().__init__()
        self.conv_1 = nn.Conv3d(features, features, 3, 1, 1, bias=False)
        self.norm_1 = _norm(norm, features)
        self.conv_2 = nn.Conv3d(features, features, 3, 1, 1, bias=False)
        self.norm_2 = _norm(norm, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `[B, C, T, H, W]` to the same shape."""
        y = self.norm_1(self.conv_1(x).relu())
        return self.norm_2(x + self.conv_2(y).relu())


class TorchActorCritic(nn.Module):
    """The network of `config` in float32."""

    def __init__(self, config: NetworkConfig, outputs: int, observation: tuple[int, int, int, int]):
        super().__init__()
        frames, height, width, inputs = observation
        t, h, w = output_shapes(config, frames, height, width)[1]
        c, head = config.channels, config.head_channels
        block, res_block = partial(ConvBlock, config.norm), partial(ResBlock, config.norm)
        self.body = nn.Sequential(
            block(inputs, c, config.stem_stride, STEM_PADDING),
            *(res_block(c) for _ in range(config.blocks[0])),
            block(c, c, config.middle_stride, MIDDLE_PADDING),
            *(res_block(c) for _ in range(config.blocks[1])),
        )
        self.actor_1 = block(c, config.actor_channels)
        self.actor_2 = block(config.actor_channels, head)
        self.logits = nn.Linear(t * h * w * head, outputs)
        self.critic_1 = block(c, head)
        self.value = nn.Linear(t * h * w * head, 1)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map uint8 `[B, T, H, W, C]` to logits `[B, outputs]` and value `[B]`."""
        x = self.body(frames.permute(0, 4, 1, 2, 3).float() / 255)
        logits = self.logits(self.actor_2(self.actor_1(x).relu()).flatten(1))
        return logits, self.value(self.critic_1(x).relu().flatten(1))[:, 0]


def _norm(kind: str, features: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, features), features)
    return nn.BatchNorm3d(features, eps=1e-5, momentum=0.1)
