"""A plain convolutional network with addressable layers, and no skips."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Four convolutions, global average pooling and a linear layer.

    Args:
        channels: of the images.
        classes: scores per image.
        width: channels of the first convolution; the third doubles them.
    """

    num_layers = 4

    def __init__(self, *, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        widths = [channels, width, width, 2 * width, 2 * width]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))
            for before, after in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], classes)

    def features(self, images: Tensor, layer: int) -> Tensor:
        """Return the output of layer ``layer``, from 1, before its activation, ``(B, C, H, W)``."""
        found = images
        for index, module in enumerate(self.layers[:layer]):
            found = module(F.relu(found) if index else found)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of images ``(B, C, H, W)``."""
        logits: Tensor = self.head(F.relu(self.features(images, self.num_layers)).mean(dim=(2, 3)))
        return logits
