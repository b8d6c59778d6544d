"""CWA (arXiv:2303.09105), with momentum: one sub-model's ascent after another, towards a weakness of them all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts, unit_mean
from robustbench_ens.perturb.attacks.members import look_at_member
from robustbench_ens.perturb.gradient import Look, project


def unit_l2(gradient: Tensor) -> Tensor:
    """Return ``gradient`` ``(B, ...)`` divided by the L2 norm of each image; a zero gradient stays zero."""
    scaled = unit_mean(gradient)  # whose squares neither underflow nor overflow
    norm = scaled.square().sum(dim=tuple(range(1, gradient.dim())), keepdim=True).sqrt()
    return scaled / norm.clamp_min(torch.finfo(gradient.dtype).tiny)


class Cwa(MomentumAttack):
    """Momentum over the way from ``x_t`` to where all sub-models, one after another, have moved it.

    The reverse step goes down the ensemble's loss, ``z = project(x_t - reverse_step * eps * sign(g))``, as
    sharpness-aware minimisation does for flat optima. Then for each sub-model k in order

        ``m <- decay * m + grad J_k(z) / ||grad J_k(z)||_2``, ``z <- project(z + inner_step * m)``,

    which favours directions on which the sub-models' gradients agree. ``m`` lasts over the steps. The momentum whose
    sign is followed accumulates ``(z - x_t) / mean |z - x_t|``. The released inner step, 250, is so long that ``z``
    ends in a corner of the budget: of ``m`` only the signs remain.

    All norms are of one image. With ``as_released`` the way is divided by its L1 norm over the whole batch, as in the
    released code: images then depend on the batch, so that no attack of the table does it. To run it, subclass in a
    module of your own. On a single network one step remains in place of the loop.
    """

    facts = own_facts("cwa")
    reverse_step: ClassVar[float] = 1 / 15
    inner_step: ClassVar[float] = 250.0
    as_released: ClassVar[bool] = False

    def initial_state(self) -> dict[str, Tensor]:
        """Return momenta of zero."""
        return super().initial_state() | {"inner": torch.zeros_like(self.problem.images)}

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return the ensemble's values and gradient; keeps the way that the sub-models took."""
        problem = self.problem
        whole = self.look(images, step)
        down = self.reverse_step * problem.eps * whole.gradient.sign()
        points = project(images - down, problem.images, problem.eps)
        for member in problem.members:
            gradient = look_at_member(problem, member, points).gradient
            self.state["inner"] = self.decay * self.state["inner"] + unit_l2(gradient)
            points = project(points + self.inner_step * self.state["inner"], problem.images, problem.eps)
        self._way = points - images
        return whole

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the accumulated ways; the ensemble's gradient is for observers alone."""
        way = self._way / self._way.abs().sum() if self.as_released else unit_mean(self._way)
        return self.decay * self.state["direction"] + way
