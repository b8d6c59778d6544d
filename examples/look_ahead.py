"""A new attack in one class: momentum whose gradient is the mean of here and one step ahead. And a loss for it."""

from torch import Tensor

from robustbench_ens.config.attacks import AttackFacts
from robustbench_ens.perturb.attack import MomentumAttack, mean_look
from robustbench_ens.perturb.gradient import Look


class LookAhead(MomentumAttack):
    """``g = (grad J(x) + grad J(x + step_size * sign(direction))) / 2``."""

    facts = AttackFacts(title="look-ahead", draws=False)
    plain_values = False

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return the mean of both looks; the first step has no direction to look ahead in."""
        ahead = images + self.problem.step_size * self.state["direction"].sign()
        return mean_look([self.look(images, step), self.look(ahead, step)])


def mean_gap(scores: Tensor, labels: Tensor) -> Tensor:
    """``mean_j z_j - z_y``, one value per image, ``(B,)``."""
    return scores.mean(dim=1) - scores.gather(1, labels.unsqueeze(1)).squeeze(1)
