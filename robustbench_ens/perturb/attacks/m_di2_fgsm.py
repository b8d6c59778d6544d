"""M-DI2-FGSM (arXiv:1803.06978): momentum, and images resized and padded at random before each gradient."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustbench_ens.perturb.attack import Problem, own_facts
from robustbench_ens.perturb.attacks.momentum_pgd import MomentumPgd
from robustbench_ens.perturb.input_diversity import diversify, draw


class MDi2Fgsm(MomentumPgd):
    """Momentum PGD from the clean image, each image moved with ``probability`` at each step."""

    facts = own_facts("m_di2_fgsm")
    random_start = False
    plain_values = False
    probability: ClassVar[float] = 0.5

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        images, draws = problem.images, problem.draws
        moves = draw(images.shape[1:], draws.images, problem.last_step, self.probability, *draws.key)
        self._sizes, self._offsets, self._coins = (drawn.to(images.device) for drawn in moves)

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return the images moved by the draws of the step."""
        return diversify(images, self._sizes[step], self._offsets[step], self._coins[step])
