"""1x1 convolutions with a stride: a safe one for our networks, and a search for unsafe ones in others.

oneDNN 3.12 (torch 2.14) writes past its buffer on processors with AVX2 and no AVX-512 when it computes the weight
gradient of a channels-last 1x1 convolution with a stride and fewer than 8 input channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SAFE_CHANNELS = 8
"""Input channels per group from which oneDNN keeps inside its buffer: as many floats as an AVX2 register holds."""

NAMED = 3
"""Unsafe layers that a warning names; a network may have dozens of them."""


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution that takes every ``stride``-th pixel first, and then convolves with stride 1.

    Its function, weights and their names are those of ``nn.Conv2d(channels_in, channels, 1, stride, bias=False)``.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, channels, ceil(H / stride), ceil(W / stride))``."""
        # A mean over windows of one pixel copies each stride-th pixel. The backward pass of a slice by rows and columns
        # fills two tensors instead of one, which costs 2 to 10% of a step.
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight, self.bias)


def unsafe_convolutions(network: nn.Module) -> list[str]:
    """Return the names of the modules of ``network`` whose weight gradient may write past its buffer."""
    return [
        name or type(module).__name__
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < SAFE_CHANNELS
    ]


def warnings_about(network: nn.Module, where: str) -> list[str]:
    """Return one warning, which begins with ``where``, if ``network`` has unsafe convolutions; none otherwise."""
    names = unsafe_convolutions(network)
    if not names:
        return []
    listed = ", ".join(map(repr, names[:NAMED]))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [
        f"{where}: 1x1 convolutions with a stride and fewer than {SAFE_CHANNELS} input channels in {listed}{more}; "
        "torch 2.14 on a processor with AVX2 and no AVX-512 writes outside its memory when it trains them; give them "
        f"{SAFE_CHANNELS} channels, or take every second pixel first: conv(x[:, :, ::2, ::2]) with stride 1"
    ]
