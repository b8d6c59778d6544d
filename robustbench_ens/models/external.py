"""Models of one's own: imported, and looked at before anything is computed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustbench_ens.config.identity import Code
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.schema import Probe
from robustbench_ens.core.limits import check_name, shown
from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.core.store import digest_json, short_hash
from robustbench_ens.errors import UserError
from robustbench_ens.models import soundness
from robustbench_ens.models.adapted import own_dtype, takes_own_dtype_alone, was_changed, watched
from robustbench_ens.models.build import count_parameters, seeded
from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.models.layout import contiguous, contiguous_remark, needs_contiguous
from robustbench_ens.models.modes import eval_mode, in_train_mode
from robustbench_ens.models.pointwise import warnings_about
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.weights.record import EnsembleRecord
from robustbench_ens.weights.trained import digest_state

PROBE_IMAGES = 32
"""Images that a model is shown before anything is computed."""


def import_model(spec: str, where: str) -> nn.Module:
    """The module ``package.module:name``, or what that returns when it is called without arguments.

    It is called with PyTorch's generator seeded, so that weights it draws are the same each time.

    Raises:
        UserError: there is no such object, or what it gives is no ``nn.Module``.
    """
    found = import_object(spec, where)
    if isinstance(found, nn.Module):
        return found
    wanted = f"{where}: expected {spec!r} to be an nn.Module, or to return one when called without arguments, got"
    if not callable(found):
        raise UserError(f"{wanted} {type(found).__name__}")
    try:
        model: object = seeded(0, found)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's code raises whatever it likes
        raise UserError(f"{wanted} {_said(error)}") from None
    if not isinstance(model, nn.Module):
        raise UserError(f"{wanted} {type(model).__name__}")
    return model


def sub_models(model: nn.Module) -> list[nn.Module]:
    """The sub-models of ``model``: its ``members``; none where it is a single network.

    Raises:
        UserError: ``members`` is a plain list of modules, which ``.eval()`` and ``.to()`` do not reach.
    """
    members = getattr(model, "members", None)
    if isinstance(members, list | tuple) and any(isinstance(member, nn.Module) for member in members):
        raise UserError(
            f"{type(model).__name__}.members: expected an nn.ModuleList, got a {type(members).__name__}, which .eval() "
            "and .to() do not reach"
        )
    return list(members) if isinstance(members, nn.ModuleList) else []


@contextmanager
def blamed(where: str, what: str = "model") -> Iterator[None]:
    """Say in one line what a model of one's own, or another function, raises in the middle of its work.

    Raises:
        UserError: anything but an error of the user's or of the machine's was raised.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a user's code raises whatever it likes
        if is_out_of_memory(error):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{where}: expected a {what} that works on every batch of images, got {_said(error)} ({last.filename}, "
            f"line {last.lineno})"
        ) from error


MOST_SAID = 400
"""Characters of an error that are repeated: TorchScript's print code, and end with what happened."""


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= MOST_SAID else f'... {text[-MOST_SAID:]}'}"


def check_scores(model: nn.Module, images: Tensor, classes: int | None, where: str) -> Tensor:
    """Show ``model`` the first image alone, then all ``images``, and see that it scores them; gives the scores.

    Args:
        model: in eval mode, on the device of ``images``.
        images: ``(B, C, H, W)`` in [0, 1].
        classes: how many it must have; none for any number from two.
        where: what errors begin with.

    Raises:
        UserError: it raises, or does not return floating-point scores ``(B, classes)`` without NaN.
    """
    for part in (images[:1], images):
        try:
            with torch.no_grad():
                scores = model(part)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except Exception as error:  # a user's code raises whatever it likes
            hint = "" if len(part) == 1 else "; one image alone works: was it traced, or exported, for batches of one?"
            raise UserError(
                f"{where}: expected a model of {part.dtype} images {tuple(part.shape)} in [0, 1], got "
                f"{_said(error)}{hint}"
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
    """See that the scores depend on the images in a way that can be differentiated.

    Raises:
        UserError: they do not.
    """
    x = images[:2].detach().clone().requires_grad_()
    problem = "scores without a gradient; is there a no_grad, detach or argmax inside?"
    try:
        with torch.enable_grad():
            scores = model(x)
            if scores.requires_grad and torch.autograd.grad(scores.sum(), x, allow_unused=True)[0] is not None:
                return
    except Exception as error:  # a user's code raises whatever it likes
        if is_out_of_memory(error) and len(images) > 1:
            return check_gradient(model, images[: len(images) // 2], where)
        problem = _said(error)
    raise UserError(
        f"{where}: expected scores that can be differentiated with respect to the images, as this protocol follows "
        f"their gradient, got {problem} Where only the target is meant to have none, use a black-box protocol"
    )


class Look(NamedTuple):
    """What was seen of a model: its scores ``(B, classes)`` of the images, and what a person should know of it.

    ``changes_input`` and ``converts`` are the arguments of :func:`~robustbench_ens.models.adapted.adapted`.
    """

    scores: Tensor
    steady: bool
    remarks: list[str]
    changes_input: bool = False
    converts: bool = False


def look_at(
    model: nn.Module, images: Tensor, classes: int | None, where: str, *, members: bool, gradient: bool
) -> Look:
    """Show a model images, as often as it takes to see that it can be evaluated; leaves it in eval mode.

    Args:
        model: on the device of ``images``.
        images, classes, where: see :func:`check_scores`.
        members: look at each sub-model too.
        gradient: see that there is one.

    Raises:
        UserError: see :func:`check_scores`, :func:`check_gradient` and :func:`sub_models`.
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
    again = check_scores(seen, images, classes, where)
    steady = soundness.alike(scores, again)
    if not steady:
        remarks.append(f"{where}: the model's scores change from one pass to the next; every number is one draw")
    for index, member in enumerate(sub_models(seen) if members else ()):
        check_scores(member, images, scores.shape[1], f"{where}: sub-model {index}")
    if gradient:
        check_gradient(seen, images, where)
        if needy:
            remarks.append(contiguous_remark(where))
    with blamed(where):
        coupled = soundness.about_batches(seen, images, scores, model) if steady else []
        found = soundness.about_modules(model) + coupled
        found += soundness.about_scores(scores) if gradient else []
        found += soundness.about_gradient(seen, images, coupled=bool(coupled)) if gradient and steady else []
    remarks += [f"{where}: {remark}" for remark in found]
    changes_input = was_changed(seen)
    if changes_input:
        remarks.append(f"{where}: the model changes its input in place; it is shown copies of the images")
    return Look(scores, steady, remarks, changes_input, converts)


def own_record(
    model: nn.Module,
    name: str,
    look: Look,
    *,
    dataset: str,
    data_digest: str,
    channels: int,
    code: Code | None = None,
    seen: Probe | None = None,
) -> EnsembleRecord:
    """What a model of one's own is, in the words for a trained ensemble.

    Its hash covers its name, its weights and its code, which decides as much as weights do. What was ``seen`` of it is
    compared with a tolerance, and is part of no hash.

    Raises:
        UserError: files cannot be named after ``name``.
    """
    check_name(name, f"model {shown(name)}")
    members = sub_models(model)
    first = members[0] if members else model
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    weights = digest_state(state)
    decided = {"model": name, "weights": weights, "code": code or {}}
    return EnsembleRecord(
        id=name,
        recipe=name,
        label=name,
        recipe_hash=short_hash(decided),
        seed=0,
        fingerprint=digest_json(decided),
        weights=weights,
        dataset=dataset,
        data_digest=data_digest,
        method=OWN_MODEL,
        network=type(first.model if isinstance(first, SubModel) else first).__name__,
        sub_models=max(len(members), 1),
        channels=channels,
        classes=look.scores.shape[1],
        parameters=count_parameters(model),
        lineage=[f"{OWN_MODEL} {weights}"],
        resolved={"model": name},
        training=None,
        code=code or None,
        probe=seen,
    )
