"""The inspection of external models on a few images before an evaluation begins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import soundness
from robustbench_ens.models.adapted import own_dtype, takes_own_dtype_alone, was_changed, watched
from robustbench_ens.models.external import blamed, failure, sub_models
from robustbench_ens.models.layout import contiguous, contiguous_remark, needs_contiguous
from robustbench_ens.models.modes import eval_mode, in_train_mode
from robustbench_ens.models.pointwise import warnings_about

PROBE_IMAGES = 32
"""The number of images on which a model is inspected."""


def check_scores(model: nn.Module, images: Tensor, classes: int | None, where: str) -> Tensor:
    """Check that ``model`` scores the first image alone and all ``images``, and return the scores.

    Args:
        model: in eval mode, on the device of ``images``.
        images: ``(B, C, H, W)`` in [0, 1].
        classes: the number that it must have; None is any number from two.
        where: the beginning of errors.

    Raises:
        UserError: it raises an error, or does not return floating-point scores ``(B, classes)`` without NaN.
    """
    for part in (images[:1], images):
        try:
            with torch.no_grad():
                scores = model(part)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except Exception as error:  # a user's code may raise anything
            hint = "" if len(part) == 1 else "; one image alone works: was it traced, or exported, for batches of one?"
            raise UserError(
                f"{where}: expected a model of {part.dtype} images {tuple(part.shape)} in [0, 1], got "
                f"{failure(error)}{hint}"
            ) from None
        if not isinstance(scores, Tensor):
            raise UserError(f"{where}: expected a tensor of scores (B, classes), got {type(scores).__name__}")
        fits = scores.ndim == 2 and len(scores) == len(part) and scores.shape[1] == (classes or max(scores.shape[1], 2))
        if not fits:
            raise UserError(
                f"{where}: expected scores of shape ({len(part)}, {classes or 'classes'}) for {len(part)} images, got "
                f"{tuple(scores.shape)}"
            )
        if not scores.is_floating_point():
            raise UserError(f"{where}: expected scores as floating-point numbers, got {scores.dtype}")
        if scores.isnan().any():
            raise UserError(f"{where}: expected scores that are numbers, got NaN for images in [0, 1]")
    return scores


def check_gradient(model: nn.Module, images: Tensor, where: str) -> None:
    """Check that the scores have a gradient with respect to the images.

    Raises:
        UserError: they have none.
    """
    x = images[:2].detach().clone().requires_grad_()
    problem = "scores without a gradient; is there a no_grad, detach or argmax inside?"
    try:
        with torch.enable_grad():
            scores = model(x)
            if scores.requires_grad and torch.autograd.grad(scores.sum(), x, allow_unused=True)[0] is not None:
                return
    except Exception as error:  # a user's code may raise anything
        if is_out_of_memory(error) and len(images) > 1:
            return check_gradient(model, images[: len(images) // 2], where)
        problem = failure(error)
    raise UserError(
        f"{where}: expected scores that can be differentiated with respect to the images, as this protocol follows "
        f"their gradient, got {problem} Where only the target is meant to have none, use attack=square or a black-box "
        "protocol"
    )


class Inspection(NamedTuple):
    """The findings of :func:`inspect_model`.

    Attributes:
        scores: ``(B, classes)``, scores of the images.
        steady: whether they are the same in every pass.
        remarks: remarks for the user, each in one line.
        changes_input, converts: arguments of :func:`~robustbench_ens.models.adapted.adapted`.
    """

    scores: Tensor
    steady: bool
    remarks: list[str]
    changes_input: bool = False
    converts: bool = False


def inspect_model(
    model: nn.Module, images: Tensor, classes: int | None, where: str, *, members: bool, gradient: bool
) -> Inspection:
    """Check that a model can be evaluated, and leave it in eval mode.

    Args:
        model: the model, on the device of ``images``.
        images, classes, where: see :func:`check_scores`.
        members: whether to inspect each sub-model too.
        gradient: whether to check that there is a gradient.

    Raises:
        UserError: the errors of :func:`check_scores`, :func:`check_gradient` and :func:`sub_models`.
    """
    remarks = []
    if in_train_mode(model):
        remarks.append(f"{where}: the model is in train mode; it is evaluated in eval mode")
    remarks.extend(warnings_about(model, where))
    eval_mode(model)
    converts = takes_own_dtype_alone(model, images)
    if converts:
        remarks.append(f"{where}: the model takes {own_dtype(model)} images; it is given the images in that dtype")
    seen = watched(model, converts)
    needy = needs_contiguous(seen, images)
    images = contiguous(images) if needy else images
    scores = check_scores(seen, images, classes, where)
    # A second pass on the same images reveals models that draw at random.
    again = check_scores(seen, images, classes, where)
    steady = soundness.alike(scores, again)
    if not steady:
        remarks.append(
            f"{where}: the model's scores change from one pass to the next; every number is one draw; use more restarts"
        )
    for index, member in enumerate(sub_models(seen) if members else ()):
        check_scores(member, images, scores.shape[1], f"{where}: sub-model {index}")
    if gradient:
        check_gradient(seen, images, where)
        if needy:
            remarks.append(contiguous_remark(where))
    with blamed(where):
        found = _unsound(model, seen, images, scores, gradient=gradient, steady=steady)
    remarks += [f"{where}: {remark}" for remark in found]
    changes_input = was_changed(seen)
    if changes_input:
        remarks.append(f"{where}: the model changes its input in place; it is shown copies of the images")
    return Inspection(scores, steady, remarks, changes_input, converts)


def _unsound(
    model: nn.Module, seen: nn.Module, images: Tensor, scores: Tensor, *, gradient: bool, steady: bool
) -> list[str]:
    """Return the reasons why attacks on ``model``, which ``seen`` wraps, may fail or its numbers mislead."""
    coupled = soundness.about_batches(seen, images, scores, model) if steady else []
    found = soundness.about_modules(model) + coupled
    if gradient:
        found += soundness.about_scores(scores)
    if gradient and steady:
        found += soundness.about_gradient(seen, images, coupled=bool(coupled))
    return found
