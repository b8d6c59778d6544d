"""torchattacks (arXiv:2010.01950): its l-infinity attacks by class name."""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from robustbench_ens.perturb.libraries.order import Order, Perturb, class_of, installed, made


def library() -> ModuleType:
    """Import torchattacks.

    Raises:
        UserError: it is not installed.
    """
    with installed("torchattacks"):
        return importlib.import_module("torchattacks")


def check(class_name: str) -> None:
    """Check that torchattacks is installed.

    Raises:
        UserError: it is not.
    """
    library()


def prepare(order: Order) -> Perturb:
    """Return an attack of torchattacks, made anew for each batch: some take a seed and the number of classes.

    Of the attacks without gradient steps, Square takes as many queries as the protocol has steps.

    Raises:
        UserError: no such class, or it has no such option, or refuses its value.
    """
    budget = order.budget
    given = {
        "model": order.model,
        "eps": float(budget.eps),
        "max_epsilon": float(budget.eps),
        "alpha": float(budget.step_size),
        **dict.fromkeys(("steps", "num_iter_set", "nb_iter", "n_queries"), budget.steps),
        "seed": 0,
        "n_classes": 2,
    }
    make = partial(made, order, class_of(order, library()))
    make(given)  # a mistake in the options shows before the first batch

    def perturb(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        with torch.no_grad():
            classes = order.model(images[:1]).shape[1]
        attack = make(given | {"seed": seed, "n_classes": classes})
        found: Tensor = attack(images, labels)
        return found

    return perturb
