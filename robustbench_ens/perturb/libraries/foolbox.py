"""foolbox 3 (arXiv:1707.04131, JOSS 2020): its l-infinity attacks by class name."""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import Tensor

from robustbench_ens.perturb.libraries.order import Order, Perturb, class_of, installed, made


def library() -> ModuleType:
    """Import foolbox.

    Raises:
        UserError: it is not installed.
    """
    with installed("foolbox"):
        return importlib.import_module("foolbox")


def check(class_name: str) -> None:
    """Check that foolbox is installed.

    Raises:
        UserError: it is not.
    """
    library()


def prepare(order: Order) -> Perturb:
    """Return an attack of foolbox.

    Attacks that look for the nearest adversarial image return theirs clipped to the radius.

    Raises:
        UserError: no such class, or it has no such option, or refuses its value.
    """
    foolbox = library()
    given = {"abs_stepsize": float(order.budget.step_size), "steps": order.budget.steps, "rel_stepsize": 1.0}
    attack = made(order, class_of(order, foolbox.attacks), given)
    model = foolbox.PyTorchModel(order.model, bounds=(0, 1), device=order.device)

    def perturb(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        wanted = foolbox.criteria.Misclassification(labels)
        found: Tensor = attack(model, images, wanted, epsilons=float(order.budget.eps))[1]
        return found

    return perturb
