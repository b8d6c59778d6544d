"""Feature distillation, Equation 1 of the DVERGE paper (arXiv:2009.14720)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.config.methods import BatchNormMode
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.perturb.batch_norm import RecordedStatistics, batch_norm_mode
from robustbench_ens.perturb.gradient import frozen, momentum, perturb


def distill(
    sub_model: SubModel,
    source: Tensor,
    target: Tensor,
    layer: int,
    *,
    eps: float,
    step_size: float,
    steps: int,
    batch_norm: BatchNormMode = "batch_and_update",
) -> Tensor:
    """Images near ``source`` that ``sub_model`` sees, at ``layer``, as it sees ``target``.

    ``argmin_z ||f_l(z) - f_l(target)||_2^2`` subject to ``||z - source||_inf <= eps`` (Equation 1), by momentum PGD
    with decay 1 from ``source``, without a random start. ``f_l`` is the output of layer ``l`` before its activation.

    The features of ``target`` are computed once. In the mode ``batch_and_update`` the released code moves the running
    statistics by the source and then by the target at every step; the target's updates are replayed.

    Args:
        sub_model: the network to distil from; its parameters carry no gradients meanwhile.
        source: ``(B, C, H, W)`` in [0, 1], the images that are changed.
        target: ``(B, C, H, W)`` in [0, 1], the images whose features are sought.
        layer: 1 to ``sub_model.num_layers``.
        eps, step_size: in pixel scale.
        steps: gradient steps.
        batch_norm: see :func:`~robustbench_ens.perturb.batch_norm.batch_norm_mode`.

    Returns:
        distilled images ``(B, C, H, W)`` within ``eps`` of ``source``.
    """
    update = batch_norm == "batch_and_update"
    recorded = RecordedStatistics(sub_model)
    with frozen(sub_model), batch_norm_mode(sub_model, batch_norm):
        with torch.no_grad():
            if update:
                with recorded.record():
                    wanted = sub_model.features(target, layer)
            else:
                wanted = sub_model.features(target, layer)

        def closeness(images: Tensor) -> Tensor:
            distance = (sub_model.features(images, layer) - wanted).to(images.dtype).square().flatten(1).sum(dim=1)
            recorded.replay()
            return -distance

        return perturb(source, closeness, eps=eps, step_size=step_size, steps=steps, rule=momentum(decay=1.0))
