"""CIFAR ResNets (He et al., arXiv:1512.03385, Section 4.2) with addressable layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError
from robustbench_ens.models.pointwise import StridedPointwise

Activation = Callable[[], nn.Module]
"""A function that makes an activation. Every block has its own, so that hooks can distinguish them."""

RESNET_DEPTHS = (8, 14, 20, 26, 32, 38, 44, 50, 56)


def activation_module(name: str, slope: float) -> Activation:
    """Return a function that makes the activation ``name``, where ``slope`` is LeakyReLU's negative slope."""
    choices: dict[str, Activation] = {
        "relu": nn.ReLU,
        "leaky_relu": partial(nn.LeakyReLU, slope),
    }
    if name not in choices:
        raise UserError(f"network_args.activation: expected one of {sorted(choices)}, got {name!r}")
    return choices[name]


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions, whose skip is a 1x1 convolution if the shape changes.

    Its modules are named and called as in torchvision's block of this name, but ``relu`` may be leaky. The tensors that
    hooks receive are not changed later, unless ``adds_in_place`` is set, as in copies without hooks.
    """

    adds_in_place = False

    def __init__(self, channels_in: int, channels: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(StridedPointwise(channels_in, channels, stride), nn.BatchNorm2d(channels))

    def inner(self, x: Tensor) -> Tensor:
        """Return the output of the first convolution, before its activation."""
        return self.bn1(self.conv1(x))

    def outer(self, x: Tensor, inner: Tensor) -> Tensor:
        """Return the output after the residual addition, before the activation."""
        branch = self.bn2(self.conv2(self.relu(inner)))
        skip = x if self.downsample is None else self.downsample(x)
        return branch.add_(skip) if self.adds_in_place else branch + skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after the second activation."""
        return self.relu(self.outer(x, self.inner(x)))


def _stage(channels_in: int, channels: int, stride: int, blocks: int, activation: Activation) -> nn.Sequential:
    """Return a stage of ``blocks`` blocks, the first of which changes the shape."""
    first = BasicBlock(channels_in, channels, stride, activation)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, activation) for _ in range(blocks - 1)))


class ResNet(nn.Module):
    """A CIFAR ResNet of depth ``6n + 2`` for images of any size and number of channels.

    Layers are numbered as in the DVERGE paper: 1 is the stem, ``2k`` and ``2k + 1`` are the two convolutions of
    block ``k`` (the second after the residual addition), and ``num_layers`` is the logits.

    Its modules are named and called as in torchvision's ResNets, so that hooks on them, Grad-CAM and feature extractors
    work alike.

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
        activated = activation_module(activation, slope)
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = activated()
        self.layer1 = _stage(width, width, 1, blocks, activated)
        self.layer2 = _stage(width, 2 * width, 2, blocks, activated)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks, activated)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, classes)
        self.num_layers = 2 + 6 * blocks
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> list[BasicBlock]:
        """Return all residual blocks in the order of the forward pass."""
        stages = (self.layer1, self.layer2, self.layer3)
        return [block for stage in stages for block in stage.children() if isinstance(block, BasicBlock)]

    def features(self, x: Tensor, layer: int) -> Tensor:
        """Return the output of layer ``layer`` before its activation, without computing later layers.

        Args:
            x: normalised images ``(B, C, H, W)``.
            layer: from 1 (stem) to ``num_layers`` (logits).

        Raises:
            UserError: the layer does not exist.
        """
        if not 1 <= layer <= self.num_layers:
            raise UserError(f"layer: expected 1 to {self.num_layers}, got {layer}")
        if layer == self.num_layers:
            return self(x)
        z = self.bn1(self.conv1(x))
        if layer == 1:
            return z
        z = self.relu(z)
        *before, last = self.blocks()[: layer // 2]
        for block in before:
            z = block(z)
        inner = last.inner(z)
        return inner if layer % 2 == 0 else last.outer(z, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of normalised images ``(B, C, H, W)``."""
        z = self.relu(self.bn1(self.conv1(x)))
        z = self.layer3(self.layer2(self.layer1(z)))
        return self.fc(torch.flatten(self.avgpool(z), 1))
