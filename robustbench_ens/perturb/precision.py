"""Networks at lower precision, for the gradients that images are crafted by."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from robustbench_ens.config.validation import Precision
from robustbench_ens.models.ensemble import Ensemble

Model = TypeVar("Model", bound=nn.Module)


class Bf16(nn.Module):
    """A network under bf16 autocast; what it returns is as wide as its images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """What the network says of images ``x``."""
        with torch.autocast(x.device.type, torch.bfloat16):
            scores: Tensor = self.model(x)
        return scores.to(x.dtype)


def at_precision(model: Model, precision: Precision) -> Model | Bf16:
    """``model``, or the sub-models of an ensemble in place, at ``precision``.

    Sub-models' logits become probabilities, and those a loss, at full precision: in bf16 the probability of a class
    above 0.998 is 1, and its cross-entropy has no gradient.
    """
    if precision == "fp32":
        return model
    if not isinstance(model, Ensemble):
        return Bf16(model)
    for index, member in enumerate(model.members):
        model.members[index] = Bf16(member)
    return model
