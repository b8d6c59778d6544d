"""CIFAR ResNets (He et al., arXiv:1512.03385, Section 4.2) with addressable layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_ens.errors import UserError
from robustbench_ens.models.pointwise import StridedPointwise

Activation = Callable[[Tensor], Tensor]

RESNET_DEPTHS = (8, 14, 20, 26, 32, 38, 44, 50, 56)


def activation_function(name: str, slope: float) -> Activation:
    """Return the activation called ``name``; ``slope`` is LeakyReLU's negative slope."""
    choices: dict[str, Activation] = {
        "relu": F.relu,
        "leaky_relu": partial(F.leaky_relu, negative_slope=slope),
    }
    if name not in choices:
        raise UserError(f"network_args.activation: expected one of {sorted(choices)}, got {name!r}")
    return choices[name]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a skip; the skip is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.activation = activation
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(StridedPointwise(channels_in, channels, stride), nn.BatchNorm2d(channels))

    def inner(self, x: Tensor) -> Tensor:
        """Output of the first convolution, before its activation."""
        return self.bn1(self.conv1(x))

    def outer(self, x: Tensor, inner: Tensor) -> Tensor:
        """Output after the residual addition, before the activation."""
        branch = self.bn2(self.conv2(self.activation(inner)))
        return branch.add_(x if self.downsample is None else self.downsample(x))


class ResNet(nn.Module):
    """A CIFAR ResNet of depth ``6n + 2`` for images of any size and number of channels.

    Layers are numbered as in the DVERGE paper: 1 is the stem, ``2k`` and ``2k + 1`` are the two convolutions of
    block ``k`` (the second after the residual addition), and ``num_layers`` is the logits.

    Args:
        depth: 8, 14, ... 56.
        channels: channels of the input images.
        classes: number of classes.
        activation: ``relu`` or ``leaky_relu``.
        slope: negative slope of LeakyReLU (GAL uses 0.1).
        width: channels of the first stage; the paper's networks have 16.

    Raises:
        UserError: the depth is not of the form ``6n + 2``, or the activation is unknown.
    """

    def __init__(
        self,
        depth: int,
        channels: int = 3,
        classes: int = 10,
        activation: str = "relu",
        slope: float = 0.1,
        width: int = 16,
    ) -> None:
        super().__init__()
        if depth not in RESNET_DEPTHS:
            raise UserError(f"network: expected a ResNet depth among {RESNET_DEPTHS}, got {depth}")
        self.activation = activation_function(activation, slope)
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks_per_stage = (depth - 2) // 6
        channels_in = width
        for stage in (1, 2, 3):
            channels_out = width * 2 ** (stage - 1)
            blocks = []
            for block in range(blocks_per_stage):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append(BasicBlock(channels_in, channels_out, stride, self.activation))
                channels_in = channels_out
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels_in, classes)
        self.num_layers = 2 + 6 * blocks_per_stage
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> list[BasicBlock]:
        """All residual blocks in the order of the forward pass."""
        stages = (self.get_submodule(f"layer{stage}") for stage in (1, 2, 3))
        return [block for stage in stages for block in stage.children() if isinstance(block, BasicBlock)]

    def features(self, x: Tensor, layer: int) -> Tensor:
        """Return the output of layer ``layer`` before its activation; later layers are not computed.

        Args:
            x: normalised images ``(B, C, H, W)``.
            layer: from 1 (stem) to ``num_layers`` (logits).

        Raises:
            UserError: the layer does not exist.
        """
        if not 1 <= layer <= self.num_layers:
            raise UserError(f"layer: expected 1 to {self.num_layers}, got {layer}")
        z = self.bn1(self.conv1(x))
        for index, block in enumerate(self.blocks(), start=1):
            if layer < 2 * index:
                return z
            z = self.activation(z)
            inner = block.inner(z)
            if layer == 2 * index:
                return inner
            z = block.outer(z, inner)
        if layer < self.num_layers:
            return z
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.activation(z), 1), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of normalised images ``(B, C, H, W)``."""
        return self.features(x, self.num_layers)
