"""TransferAttack (github.com/Trustworthy-AI-Group/TransferAttack): its attacks by the names that its loader takes."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from torch import Tensor

from robustbench_ens.config.libraries import OWN_LOSS, unknown_attack
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.libraries.order import Order, Perturb, installed, made


def library() -> ModuleType:
    """Import TransferAttack.

    Raises:
        UserError: it is not importable.
    """
    with installed("transferattack"):
        return importlib.import_module("transferattack")


def check(class_name: str) -> None:
    """Check that TransferAttack is importable, and has an attack of that name.

    Raises:
        UserError: it is not, or has none.
    """
    _class(class_name)


def _class(class_name: str) -> Any:
    """Return a class by the library's table, whose values are classes in older copies and what its loader takes since.

    Raises:
        UserError: the table has no such name, or what the class imports is not installed.
    """
    module = library()
    table = getattr(module, "attack_zoo", {})
    if class_name not in table:
        name = f"transferattack:{class_name}"
        raise UserError(f"attack {name!r}: {unknown_attack(name, table)}, got {name!r}")
    found = table[class_name]
    if isinstance(found, type):
        return found
    with installed("transferattack"):
        return module.load_attack_class(class_name)


def prepare(order: Order) -> Perturb:
    """Return an attack of TransferAttack on the model, in place of the ImageNet networks that it would download.

    Raises:
        UserError: no such attack, or it has no such option, or refuses its value.
    """
    class_ = _class(order.class_name)

    # In place of the ImageNet network that its own loader would download.
    on_the_model = type(class_.__name__, (class_,), {"load_model": lambda self, model_name: order.model})
    budget = order.budget
    given = {
        "model_name": "",
        "epsilon": float(budget.eps),
        "alpha": float(budget.step_size),
        "epoch": budget.steps,
        "device": order.device,
    }
    loss = inspect.signature(class_).parameters.get("loss")
    own = loss is None or loss.default != "crossentropy"
    if own != (order.loss is None):
        raise UserError(
            f"attack {order.name!r}: key 'loss': expected {OWN_LOSS if own else 'cross_entropy'}, which is what it "
            "maximises"
        )
    attack = made(order, on_the_model, given)

    def perturb(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        found: Tensor = images + attack(images, labels)
        return found

    return perturb
