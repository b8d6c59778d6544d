"""VMI-FGSM (arXiv:2103.15571): the gradient corrected by how it varied around the point of the step before."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, mean_look, own_facts
from robustbench_ens.perturb.gradient import Look


class VmiFgsm(MomentumAttack):
    """Momentum over ``grad J(x_t) + v_t``, where ``v_{t+1} = mean_i grad J(x_t + r_i) - grad J(x_t)``.

    ``r_i`` are uniform within ``radius`` times eps and not clipped; ``v_0`` is zero. The variance is tuned by the
    gradient itself, without what was added to it.
    """

    facts = own_facts("vmi_fgsm")
    neighbours: ClassVar[int] = 20
    radius: ClassVar[float] = 1.5

    def initial_state(self) -> dict[str, Tensor]:
        """Return a direction and a variance of zero."""
        return super().initial_state() | {"variance": torch.zeros_like(self.problem.images)}

    def offsets(self, images: Tensor, step: int) -> Tensor:
        """Return offsets of the neighbours in [-1, 1], ``(B, neighbours, C, H, W)``."""
        shape = (self.neighbours, *images.shape[1:])
        return 2 * self.problem.draws.uniform("neighbours", step, shape, images) - 1

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values and the gradient with the variance of the step before; keeps that of this step."""
        own = self.look(images, step)
        offsets = self.radius * self.problem.eps * self.offsets(images, step)
        around = mean_look([self.look(images + offset, step) for offset in offsets.unbind(1)])
        tuned = own.gradient + self.state["variance"]
        self.state["variance"] = around.gradient - own.gradient
        return Look(own.values, tuned)
