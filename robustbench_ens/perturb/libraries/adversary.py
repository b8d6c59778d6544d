"""An attack of any library by its name: found, seeded, and blamed for what it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustbench_ens.config.libraries import library_attack, split, unknown_attack
from robustbench_ens.config.outside import import_object
from robustbench_ens.errors import UserError
from robustbench_ens.models.external import blamed
from robustbench_ens.perturb.libraries.generators import global_generators
from robustbench_ens.perturb.libraries.order import Order, Perturb

Adversary = Callable[[Tensor, Tensor, int], Tensor]
"""Maps images ``(B, C, H, W)``, labels ``(B,)`` and a seed, which decides its draws, to adversarial images."""


class _Shown(nn.Module):
    """A model as libraries are shown it: with a parameter, of which they ask the device; a folded one may have none.

    ``raised`` is what the model raised last.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros((), dtype=torch.float32, device=device), requires_grad=False)
        self.model = model
        self.raised: Exception | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's scores of images ``(B, C, H, W)``."""
        try:
            scores: Tensor = self.model(x)
        except Exception as error:
            self.raised = error
            raise
        return scores


def check_installed(names: Iterable[str]) -> None:
    """Check that the libraries of attacks are there, and list these.

    Args:
        names: of attacks; those of no library are skipped.

    Raises:
        UserError: a library is not installed, or lists no such attack.
    """
    for name in dict.fromkeys(names):
        found = split(name)
        if found is not None:
            module, _, _ = found[0].adapter.partition(":")
            import_object(f"{module}:check", f"attack {name!r}")(found[1])


def adversary(order: Order) -> Adversary:
    """Return an attack of a library on a model; the caller projects its images into the budget and checks them.

    Draws from the process's generators belong to the batch, and batches wait for each other.

    Raises:
        UserError: no such attack, loss or option, or the library is not installed.
    """
    found = split(order.name)
    assert found is not None
    where = f"attack {order.name!r}"
    if library_attack(order.name) is None:
        raise UserError(f"{where}: {unknown_attack(order.name)}")
    model = _Shown(order.model, order.device).eval()
    perturb: Perturb = import_object(found[0].adapter, where)(replace(order, model=model))

    def crafted(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        with global_generators(seed, images.device):
            try:
                returned = perturb(images, labels, seed)
            except Exception as error:
                if error is model.raised:
                    raise  # of the model, which the caller names
                with blamed(where, f"{found[0].title} attack"):
                    raise
        if not isinstance(returned, Tensor) or returned.shape != images.shape:
            got = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
            raise UserError(f"{where}: expected images of shape {tuple(images.shape)}, got {got}")
        return returned.detach().to(images)

    return crafted
