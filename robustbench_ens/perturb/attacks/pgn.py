"""PGN (arXiv:2306.05225): gradients around the point, penalised by their norm, to end where the loss is flat."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, mean_look, own_facts, unit_mean
from robustbench_ens.perturb.gradient import Look


class Pgn(MomentumAttack):
    """Momentum over ``mean_i (1 - balance) * g_i + balance * h_i``.

    ``g_i = grad J(x_i)`` at neighbours ``x_i`` uniform within ``radius`` times eps, and
    ``h_i = grad J(x_i - step_size * g_i / mean |g_i|)``: the finite difference of both stands for the gradient of the
    norm. No point is clipped. The released code takes ``eps / steps`` for the step size, whatever it is given.
    """

    facts = own_facts("pgn")
    plain_values = False
    neighbours: ClassVar[int] = 20
    radius: ClassVar[float] = 3.0
    balance: ClassVar[float] = 0.5

    def offsets(self, images: Tensor, step: int) -> Tensor:
        """Return offsets of the neighbours in [-1, 1], ``(B, neighbours, C, H, W)``."""
        shape = (self.neighbours, *images.shape[1:])
        return 2 * self.problem.draws.uniform("neighbours", step, shape, images) - 1

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return the mean values of the neighbours, and the penalised gradient."""
        offsets = self.radius * self.problem.eps * self.offsets(images, step)
        return mean_look([self._penalised(images + offset, step) for offset in offsets.unbind(1)])

    def _penalised(self, point: Tensor, step: int) -> Look:
        here = self.look(point, step)
        below = self.look(point - self.problem.step_size * unit_mean(here.gradient), step)
        return Look(here.values, (1 - self.balance) * here.gradient + self.balance * below.gradient)
