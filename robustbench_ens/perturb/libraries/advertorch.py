"""advertorch 0.2.3 on today's PyTorch: its l-infinity attacks by class name."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from types import ModuleType

import torch
import torch.autograd.gradcheck
from torch import Tensor

from robustbench_ens.perturb.libraries.order import Order, Perturb, class_of, installed, made

PER_IMAGE = {"LinfSPSAAttack"}
"""Classes that estimate a gradient from one loss per image; all others take the gradient of one sum."""


def zero_gradients(tensors: Tensor | Iterable[Tensor]) -> None:
    """Zero the gradients of ``tensors``: what ``torch.autograd.gradcheck.zero_gradients`` did until PyTorch 1.8."""
    for tensor in [tensors] if isinstance(tensors, torch.Tensor) else tensors:
        if tensor.grad is not None:
            tensor.grad.detach_().zero_()


def attacks() -> ModuleType:
    """Import the module ``advertorch.attacks``.

    advertorch imports a name that PyTorch has since removed; it is put back before the import.

    Raises:
        UserError: advertorch is not installed.
    """
    gradcheck = importlib.import_module("torch.autograd.gradcheck")
    if not hasattr(gradcheck, "zero_gradients"):
        gradcheck.zero_gradients = zero_gradients  # type: ignore[attr-defined]
    with warnings.catch_warnings(), installed("advertorch"):
        warnings.simplefilter("ignore")  # invalid escapes in its docstrings
        return importlib.import_module("advertorch.attacks")


def check(class_name: str) -> None:
    """Check that advertorch is installed.

    Raises:
        UserError: it is not.
    """
    attacks()


def prepare(order: Order) -> Perturb:
    """Return an attack of advertorch.

    Its constructor is told what it asks for of eps, steps, step size, pixel range and loss. LinfFABAttack has no use
    for a loss or a step size, for it seeks the nearest decision boundary; it works in float32 only.

    Raises:
        UserError: no such class, or it has no such option, or refuses its value.
    """
    loss, budget = order.loss, order.budget
    assert loss is not None

    def summed(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits, labels).sum()

    given = {
        "predict": order.model,
        "loss_fn": loss if order.class_name in PER_IMAGE else summed,
        "eps": float(budget.eps),
        "eps_iter": float(budget.step_size),
        "nb_iter": budget.steps,
        "n_iter": budget.steps,
        "clip_min": 0.0,
        "clip_max": 1.0,
    }
    attack = made(order, class_of(order, attacks()), given)

    def perturb(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        found: Tensor = attack.perturb(images, labels)
        return found

    return perturb
