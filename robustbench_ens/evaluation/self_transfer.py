"""Self-transfer: attacks on a defence through plain means of its own sub-models, whatever its aggregation.

An aggregation with a misleading gradient, or none, adds no robustness to that of its sub-models. Images that fool
their plain mean are therefore scored on the defence, which is how CrossMax (arXiv:2408.05446) was broken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.protocols.kinds import Whitebox
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.job import OWN_AGGREGATION, Job
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.modes import eval_mode

MEANS = ("mean_softmax", "mean_logits")
"""The aggregations whose gradient hides no sub-model."""


def plain_means(job: Job, settings: Whitebox) -> list[Ensemble]:
    """Return the sub-models of the target under each plain mean that is not its own aggregation.

    The result is empty if self-transfer is off or has nothing to add.

    Raises:
        UserError: the protocol asks for self-transfer, but the target has no sub-models that classify by themselves.
    """
    target: Any = job.target.ensemble
    own = target.aggregation if isinstance(target, Ensemble) else OWN_AGGREGATION
    asked = settings.self_transfer
    if asked is False or (asked is None and own == DEFAULT_AGGREGATION):
        return []
    if not _have_scores(job.target, job.images[:2].to(job.device)):
        if asked:
            raise UserError(
                f"protocol kind {settings.kind!r}: key 'self_transfer': expected a target whose `members` map images "
                f"to scores of its classes, with a gradient, got {job.target.record.id!r}; leave the key out"
            )
        return []
    if isinstance(target, Ensemble) and len(target) == 1:
        return []  # a single sub-model is its own mean
    return [eval_mode(Ensemble(sub_models(target), mean)) for mean in MEANS if mean != own]


def _have_scores(target: LoadedModel, images: Tensor) -> bool:
    """Return whether every sub-model maps images to scores, which need not hold in an external model."""
    members = sub_models(target.ensemble)
    if isinstance(target.ensemble, Ensemble) or not members:
        return bool(members)
    shape = (len(images), target.record.classes)
    try:
        with torch.enable_grad():
            shown = images.detach().clone().requires_grad_()
            scores = [member(shown) for member in members]
        return all(own.shape == shape and own.requires_grad for own in scores)
    except Exception:  # a user's code may raise anything
        return False
