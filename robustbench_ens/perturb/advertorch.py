"""advertorch 0.2.3 on today's PyTorch: its l-infinity attacks by class name.

advertorch is an extra: it is imported when one of its attacks is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import torch
import torch.autograd.gradcheck
from torch import Tensor, nn

from robustbench_ens.config.attacks import ADVERTORCH_ATTACKS, PREFIX
from robustbench_ens.core.seeds import GLOBAL_GENERATORS
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.inputs import Budget
from robustbench_ens.perturb.losses import AttackLoss

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in its docstrings
        try:
            return importlib.import_module("advertorch.attacks")
        except ImportError as error:
            raise UserError(
                f"attack {PREFIX!r}...: expected the extra 'advertorch' to be installed, got {error}; "
                "run `pip install 'robustbench_ens[advertorch]'`"
            ) from None


def build(
    name: str,
    model: nn.Module,
    loss: AttackLoss,
    budget: Budget,
    options: Mapping[str, object],
) -> Callable[[Tensor, Tensor], Tensor]:
    """An attack of advertorch on ``model``: maps images and labels to adversarial images.

    Its constructor is told what it asks for of eps, steps, step size, pixel range and loss. LinfFABAttack has no use
    for a loss or a step size, for it seeks the nearest decision boundary; it works in float32 only.

    Args:
        name: ``advertorch:LinfSPSAAttack``; the class must be bounded in l-infinity, as every budget here is.
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        loss: one value per image, maximised.
        budget: radius, step size and steps.
        options: further arguments of its constructor.

    Raises:
        UserError: no such class, or it has no such option, or refuses its value.
    """
    class_name = name.removeprefix(PREFIX)
    if class_name not in ADVERTORCH_ATTACKS:
        valid = ", ".join(PREFIX + valid for valid in ADVERTORCH_ATTACKS)
        raise UserError(f"attack {name!r}: expected an l-infinity attack of advertorch, one of {valid}")
    class_ = getattr(attacks(), class_name)

    def summed(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits, labels).sum()

    given = {
        "predict": model,
        "loss_fn": loss if class_name in PER_IMAGE else summed,
        "eps": float(budget.eps),
        "eps_iter": float(budget.step_size),
        "nb_iter": budget.steps,
        "n_iter": budget.steps,
        "clip_min": 0.0,
        "clip_max": 1.0,
    }
    accepted = list(inspect.signature(class_).parameters)
    free = [parameter for parameter in accepted if parameter not in given]
    for option in options:
        if option not in free:
            raise UserError(f"attack {name!r}: unknown option {option!r}; valid options: {', '.join(free) or 'none'}")
    arguments = {key: value for key, value in given.items() if key in accepted}
    try:
        perturb: Callable[[Tensor, Tensor], Tensor] = class_(**arguments, **options).perturb
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(
            f"attack {name!r}: expected options that {class_name} accepts, got {dict(options)}: {error}"
        ) from None
    return perturb


@contextmanager
def global_generator(seed: int, device: torch.device) -> Iterator[None]:
    """Draws from PyTorch's global generators, which is where advertorch draws from, follow from ``seed`` in here.

    The generators' states are as before afterwards. Other threads that enter this wait.
    """
    cuda = device.type == "cuda"
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
