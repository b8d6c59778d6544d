"""One step that moves the features of images away from their own: the distillation of FASTEN (IEEE TIFS, 10329935)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.config.methods import BatchNormMode
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.perturb.batch_norm import batch_norm_mode
from robustbench_ens.perturb.gradient import frozen, project, value_and_gradient


def push_away(
    sub_model: SubModel,
    images: Tensor,
    start: Tensor,
    layer: int,
    *,
    eps: float,
    batch_norm: BatchNormMode = "batch",
) -> Tensor:
    """Move ``images`` so that the features of ``sub_model`` at ``layer`` differ from those of the clean images.

    This is one signed gradient step of length ``eps`` that increases ``||f_l(z) - f_l(x)||_2^2`` at ``z = start``. Its
    result is projected to ``eps`` around ``x`` and to [0, 1]. There is no target image. ``f_l`` is the output of layer
    ``l`` before its activation, and ``f_l(x)`` carries no gradient.

    Args:
        sub_model: the network to distil from. Its parameters are frozen during the step.
        images: ``(B, C, H, W)`` in [0, 1].
        start: ``(B, C, H, W)``, the point of the gradient, which is zero at ``images`` themselves.
        layer: 1 to ``sub_model.num_layers``.
        eps: radius and step size, in pixel scale.
        batch_norm: see :func:`~robustbench_ens.perturb.batch_norm.batch_norm_mode`.

    Returns:
        images ``(B, C, H, W)`` within ``eps`` of ``images`` and in [0, 1], detached.
    """
    with frozen(sub_model), batch_norm_mode(sub_model, batch_norm):

        def distance(moved: Tensor) -> Tensor:
            found = sub_model.features(moved, layer)
            with torch.no_grad():  # second, because each pass may move running statistics, as in the released code
                own = sub_model.features(images, layer)
            return (found - own).to(images.dtype).square().flatten(1).sum(dim=1)

        gradient = value_and_gradient(distance, start).gradient
    return project(start + eps * gradient.sign(), images, eps)
