"""SGM (arXiv:2002.05990): momentum, and gradients that prefer skips to residual branches."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from robustbench_ens.perturb.attack import own_facts
from robustbench_ens.perturb.attacks.momentum_pgd import MomentumPgd
from robustbench_ens.perturb.skip_gradient import skip_gradient


class Sgm(MomentumPgd):
    """Momentum PGD from the clean image, the gradient of every residual branch multiplied by ``gamma``."""

    facts = own_facts("sgm")
    random_start = False
    gamma: ClassVar[float] = 0.2

    @classmethod
    def prepare(cls, model: nn.Module) -> None:
        """Scale the gradients of the residual branches of the copy that images are crafted on."""
        skip_gradient(model, cls.gamma)
