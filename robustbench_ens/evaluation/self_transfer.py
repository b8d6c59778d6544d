"""Self-transfer: a defence attacked through the plain means of its own sub-models, whatever it answers with.

An answer with a gradient that misleads, or with none, hides nothing that its sub-models do not have. Images that beat
their plain mean are tried on the answer, as CrossMax (arXiv:2408.05446) was broken.
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
"""Aggregations whose gradient hides no sub-model."""


def plain_means(job: Job, settings: Whitebox) -> list[Ensemble]:
    """Return the sub-models of the target under each plain mean that is not its own; none if there is nothing to try.

    Raises:
        UserError: the protocol asks for self-transfer, and the target has no sub-models with scores of its classes.
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
    """Return whether the target has sub-models that are networks by themselves, which an external model need not."""
    members = sub_models(target.ensemble)
    if isinstance(target.ensemble, Ensemble) or not members:
        return bool(members)
    shape = len(images), target.record.classes
    try:
        with torch.enable_grad():
            shown = images.detach().clone().requires_grad_()
            scores = [member(shown) for member in members]
        return all(own.shape == shape and own.requires_grad for own in scores)
    except Exception:  # a user's code raises whatever it likes
        return False
