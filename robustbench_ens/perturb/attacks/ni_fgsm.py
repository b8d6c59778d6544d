"""NI-FGSM (arXiv:1908.06281): momentum whose gradient is taken one step ahead, at the Nesterov point."""

from __future__ import annotations

from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts
from robustbench_ens.perturb.gradient import Look


def look_ahead(images: Tensor, direction: Tensor, step_size: float, decay: float) -> Tensor:
    """Return ``x + step_size * decay * direction``, where the momentum alone would carry the images.

    The direction is accumulated from gradients divided by their mean absolute value. Divided by their L1 norm, as the
    paper writes it, it would be as many times smaller as an image has values, and the look-ahead would do nothing; the
    authors' code divides by the mean. The point is not clipped.

    Args:
        images: ``(B, C, H, W)``.
        direction: ``(B, C, H, W)``, in units of mean absolute gradients.
        step_size: in pixel scale.
        decay: of the momentum.
    """
    return images + step_size * decay * direction


class NiFgsm(MomentumAttack):
    """Momentum whose gradient is that of the point one step ahead."""

    facts = own_facts("ni_fgsm")
    plain_values = False

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values and gradient at the point ahead."""
        ahead = look_ahead(images, self.state["direction"], self.problem.step_size, self.decay)
        return self.look(ahead, step)
