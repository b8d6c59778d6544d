"""The gradient of one sub-model, for attacks that treat the sub-models of an ensemble apart."""

from __future__ import annotations

from torch import Tensor

from robustbench_ens.perturb.attack import Problem, Scores
from robustbench_ens.perturb.gradient import Look, value_and_gradient


def look_at_member(problem: Problem, member: Scores, images: Tensor, rows: Tensor | None = None) -> Look:
    """Return the values of the loss under one sub-model, and their gradients.

    Args:
        problem: gives loss and labels.
        member: one of its sub-models.
        images: ``(R, C, H, W)``.
        rows: which images of the problem they are, a mask ``(B,)``; all unless given.
    """
    labels = problem.labels if rows is None else problem.labels[rows]
    return value_and_gradient(lambda points: problem.loss(member(points), labels), images)
