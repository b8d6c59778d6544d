"""advertorch 0.2.3 on today's PyTorch."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from types import ModuleType

import torch
import torch.autograd.gradcheck
from torch import Tensor


def zero_gradients(tensors: Tensor | Iterable[Tensor]) -> None:
    """Zero the gradients of ``tensors``: what ``torch.autograd.gradcheck.zero_gradients`` did until PyTorch 1.8."""
    for tensor in [tensors] if isinstance(tensors, torch.Tensor) else tensors:
        if tensor.grad is not None:
            tensor.grad.detach_().zero_()


def attacks() -> ModuleType:
    """The module ``advertorch.attacks``.

    advertorch imports a name that PyTorch has since removed; it is put back before the import.
    """
    gradcheck = importlib.import_module("torch.autograd.gradcheck")
    if not hasattr(gradcheck, "zero_gradients"):
        gradcheck.zero_gradients = zero_gradients  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in its docstrings
        return importlib.import_module("advertorch.attacks")
