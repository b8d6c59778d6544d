"""Predicted classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError

BATCH_SIZE = 250
"""Images computed at a time, for memory and speed alone."""


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, device: torch.device, batch_size: int = BATCH_SIZE) -> Tensor:
    """Predicted classes ``(N,)`` on the CPU of images ``(N, C, H, W)``; puts ``model`` into eval mode.

    Raises:
        UserError: the model returns values that are not numbers.
    """
    model.eval()
    if not len(images):
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    scores = torch.cat([model(part.to(device)).cpu() for part in images.split(batch_size)])
    if torch.isnan(scores).any():
        raise UserError("the model returns NaN for images in [0, 1]; no accuracy can be given")
    return scores.argmax(dim=1)
