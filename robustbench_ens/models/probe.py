"""Recognise a model by its scores and input gradients of a few images, compared with a tolerance.

Source and weights leave out what else decides a model's answers: a file it reads, the environment, a package's own
data. Rounding differs between processors and thread counts, so nothing here is hashed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_ens.config.schema import Probe

DIRECTIONS = 4
"""Fixed random directions that scores and gradients are projected on: any change shows in them, at a fixed size."""

LARGEST_SCORE = 1e6
"""Scores beyond it, infinities too, are taken for it, so that the others still count beside them."""

SCORE_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
"""Of the largest number of an image's row. Rounding is amplified in gradients, whose products are longer."""

SMALLEST = 1e-5
"""Absolute tolerance of scores; below it they differ by rounding."""

FEW = 16
"""In one image of so many, a rounded activation may fall on the other side of a kink, and the gradient differs."""


def probe(model: nn.Module, images: Tensor, scores: Tensor) -> Probe:
    """Project scores and input gradients of ``images`` on fixed directions.

    Args:
        model: in eval mode, steady, on the device of ``images``.
        images: ``(B, C, H, W)`` in [0, 1].
        scores: ``(B, classes)``, the model's of ``images``.

    Returns:
        rows of the centred scores' projections, and of the gradients' norm and projections. No gradients where the
        model has none or gives others the second time.
    """
    kept = scores.detach().double().cpu().nan_to_num(0, LARGEST_SCORE, -LARGEST_SCORE)
    kept = kept.clamp(-LARGEST_SCORE, LARGEST_SCORE)
    # A constant on all scores of an image changes neither predictions nor losses.
    found = {"scores": _rows(_projected(kept - kept.mean(dim=1, keepdim=True)))}
    gradients = [_gradient(model, images) for _ in range(2)]
    if gradients[0] is not None and gradients[1] is not None:
        first, second = (_summed_up(gradient) for gradient in gradients if gradient is not None)
        if _close(first, second, GRADIENT_TOLERANCE, 0.0, 0):
            found["gradients"] = _rows(first)
    return found


def same_probe(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return whether two probes are of one model, up to rounding; none is the probe of models that change by chance."""
    return not probe_differences(one, other)


def probe_differences(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """Say in a few words what differs between two probes; empty where nothing does."""
    if one is None or other is None:
        return "" if one is other else "whether its scores are the same twice"
    if not _equal(one.get("scores"), other.get("scores"), SCORE_TOLERANCE, SMALLEST, few=False):
        return "its scores of the same images"
    if not _equal(one.get("gradients"), other.get("gradients"), GRADIENT_TOLERANCE, 0.0, few=True):
        return "its gradients at the same images"
    return ""


def _equal(one: Any, other: Any, relative: float, absolute: float, *, few: bool) -> bool:
    if one is None or other is None:
        return one is other
    try:
        first, second = (torch.tensor(rows, dtype=torch.float64, device="cpu") for rows in (one, other))
    except ValueError:  # rows of different lengths, in a forged file
        return False
    return _close(first, second, relative, absolute, len(first) // FEW if few else 0)


def _close(one: Tensor, other: Tensor, relative: float, absolute: float, few: int) -> bool:
    """Whether all but ``few`` rows agree."""
    if one.shape != other.shape or one.ndim != 2:
        return False
    scale = torch.maximum(one.abs(), other.abs()).amax(dim=1, keepdim=True)
    agree = ((one - other).abs() <= relative * scale + absolute).all(dim=1)
    return int((~agree).sum()) <= few


def _gradient(model: nn.Module, images: Tensor) -> Tensor | None:
    """The gradient of a fixed mixture of the scores with respect to ``images``; none where there is none."""
    x = images.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            scores = model(x)
            weights = _directions(scores.shape[1])[:, 0]
            # Centred, for the same reason as the scores.
            mixture = (scores * (weights - weights.mean()).to(scores)).sum()
            return torch.autograd.grad(mixture, x)[0].detach().double().cpu().nan_to_num(0, 0, 0)
    except Exception:  # who follows the gradient reports what is wrong with it
        return None


def _summed_up(gradient: Tensor) -> Tensor:
    flat = gradient.flatten(1)
    return torch.cat([flat.norm(dim=1, keepdim=True), _projected(flat)], dim=1)


def _projected(rows: Tensor) -> Tensor:
    return rows @ _directions(rows.shape[1])


@functools.lru_cache(maxsize=8)
def _directions(size: int) -> Tensor:
    """``(size, DIRECTIONS)``; NumPy promises that this stream of numbers never changes, PyTorch does not."""
    return torch.from_numpy(np.random.RandomState(0).standard_normal((size, DIRECTIONS)))


def _rows(values: Tensor) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in row] for row in values.tolist()]


def modules_behind(model: nn.Module) -> set[str]:
    """Return the names of the Python modules that a model's code comes from.

    Those of the classes of every ``nn.Module`` inside it with their bases, of methods put in their place, and of the
    functions and objects that they hold, hooks too.
    """
    inside = list(model.modules())
    classes = {base for module in inside for base in type(module).__mro__}
    things = [*classes, *(value for cls in classes for value in vars(cls).values())]
    things += [thing for module in inside for thing in _held(vars(module))]
    return {name for thing in things if isinstance(name := _module_of(thing), str)}


def _held(values: Mapping[str, Any]) -> Iterator[Any]:
    for value in values.values():
        yield value
        kind = type(value)  # isinstance asks the object itself, which may raise
        if issubclass(kind, Mapping):
            yield from value.values()
        elif issubclass(kind, list | tuple | set | frozenset):
            yield from value


def _module_of(thing: Any) -> Any:
    while issubclass(type(thing), functools.partial):
        thing = thing.func
    try:
        return getattr(thing, "__module__", None)
    except Exception:  # a user's object does what it likes
        return None
