"""SIM (arXiv:1908.06281): the mean gradient of copies of the images, each half as bright as the one before."""

from __future__ import annotations

from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts


def scaled(images: Tensor, copy: int) -> Tensor:
    """Return ``images / 2**copy``, of the same shape; copy 0 is the images themselves."""
    return images / 2**copy


class Sim(MomentumAttack):
    """Momentum over the mean gradient of five copies: ``mean_i grad J(x / 2**i)``, i from 0 to 4."""

    facts = own_facts("sim")
    plain_values = False
    copies = 5

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return the images at the brightness of the copy."""
        return scaled(images, copy)
