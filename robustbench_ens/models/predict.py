"""Predicted classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_ens.core.fitting import Fitting
from robustbench_ens.errors import UserError
from robustbench_ens.models.modes import eval_mode

BATCH_SIZE = 250
"""Images computed at a time, for memory and speed alone."""


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor,
    device: torch.device,
    batch_size: int = BATCH_SIZE,
    fitting: Fitting | None = None,
) -> Tensor:
    """Predicted classes ``(N,)`` on the CPU of images ``(N, C, H, W)``; puts ``model`` into eval mode.

    The model is shown copies: one that works in place does not change ``images``.

    Args:
        model: maps images to scores.
        images: of any number.
        device: of the model.
        batch_size: images at a time, if ``fitting`` does not say otherwise.
        fitting: halves a batch that does not fit in memory.

    Raises:
        UserError: the model returns values that are not numbers.
    """
    eval_mode(model)
    if not len(images):
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    fitting = fitting or Fitting()

    def scored(rows: slice) -> Tensor:
        part: Tensor = model(images[rows].to(device, copy=True))
        return part.cpu()

    scores = torch.cat(fitting.each(slice(0, len(images)), scored, batch_size))
    if torch.isnan(scores).any():
        raise UserError("the model returns NaN for images in [0, 1]; no accuracy can be given")
    return scores.argmax(dim=1)
