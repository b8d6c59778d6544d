"""Momentum PGD (MI-FGSM, arXiv:1710.06081) from a random start."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustbench_ens.perturb.attack import GradientAttack, own_facts
from robustbench_ens.perturb.gradient import momentum


class MomentumPgd(GradientAttack):
    """Accumulate gradients of unit L1 norm: ``direction <- decay * direction + gradient / ||gradient||_1``."""

    facts = own_facts("momentum_pgd")
    decay: ClassVar[float] = 1.0

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the accumulated gradients."""
        return momentum(self.decay)(gradient, self.state["direction"])
