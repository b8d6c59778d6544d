"""Checks on a few images for reasons why attacks on a model may fail or its numbers mislead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from robustbench_ens.perturb.losses import cross_entropy, saturated

NAMED = 3
"""The most modules that a remark names. A network may have dozens of them."""

FEW = 0.1
"""The share of images with an unusable gradient above which there is a remark."""

MANY = 0.25
"""The share of images with an unusable loss above which there is a remark."""

TINY = 1e-3
"""The spread of an image's scores below which cross-entropy hardly distinguishes classes."""

APART = 0.01
"""The difference between scores of one image that is not rounding, in units of the scores' spread."""

ALIKE = 0.9
"""The cosine between actual changes of scores and those predicted by the gradient, below which it is wrong."""

CURVED = 3.0
"""The factor by which that cosine must be farther from 1 than the one between a step up and a step down.

Changes by a step up and a step down differ if scores are curved or changes are lost in rounding. The first cosine is
then no evidence against the gradient.
"""

STEP = 0.005
"""The change of a pixel in finite differences."""

PROBES = 32
"""The number of random directions of finite differences, over all images."""

LOOKED_AT = 8
"""The most images for finite differences."""

DEEPEST = 3
"""The depth to which nested containers are searched."""


def spread(scores: Tensor) -> float:
    """Return the median over images of the largest minus the smallest score in ``scores`` ``(B, classes)``."""
    finite = scores.double().nan_to_num(neginf=0.0, posinf=0.0)
    return float((finite.amax(dim=1) - finite.amin(dim=1)).median())


def about_scores(scores: Tensor) -> list[str]:
    """Return remarks on ``scores`` ``(B, classes)`` that make attacks weaker."""
    # Only the first remark is returned: probabilities, for instance, are also all in [0, 1].
    sums = scores.double().sum(dim=1)
    if (scores >= 0).all() and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-3):
        return [
            "the model returns probabilities, on which attacks are weaker than they should be; return logits, or "
            "log_softmax of them (the logarithm of a softmax is no better: it has lost what is next to 0 and 1)"
        ]
    if (scores >= 0).all() and (scores <= 1).all():
        return [
            "all scores are in [0, 1], as those of a sigmoid are, on which attacks are weaker than they should be; "
            "return logits"
        ]
    certain = saturated(cross_entropy(scores, scores.argmax(dim=1)), "cross_entropy") | scores.isinf().any(dim=1)
    if float(certain.double().mean()) > MANY:
        return [
            f"cross-entropy is exactly 0 or not finite on {int(certain.sum())} of {len(scores)} images, where attacks "
            "see no loss rise; return logits or log_softmax of them, not the logarithm of a softmax, and divide "
            "logits that are very large by a constant, or use loss=cw"
        ]
    if spread(scores) < TINY:
        return [
            f"the scores of an image differ by {spread(scores):.2g} at most: cross-entropy hardly tells classes apart, "
            "and attacks are weaker than they should be; multiply the scores by a constant"
        ]
    return []


def about_gradient(model: nn.Module, images: Tensor, *, coupled: bool = False) -> list[str]:
    """Return remarks on the gradient of a ``model`` in eval mode whose scores are the same in every pass.

    Two things are checked: that the gradient of cross-entropy is not zero, and that scores change as their gradient
    predicts. The second is skipped if the model is ``coupled``: an image's scores depend on the others of its batch.
    """
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = model(x)
        loss = cross_entropy(scores, scores.argmax(dim=1)).sum()
        (gradient,) = torch.autograd.grad(loss, x)
    size = gradient.flatten(1).abs().sum(dim=1)
    dead = (size == 0) | ~size.isfinite()
    if float(dead.double().mean()) > FEW:
        return [
            f"the gradient of cross-entropy is zero or not finite on {int(dead.sum())} of {len(images)} images, where "
            "attacks cannot follow it; is something rounded, clamped, detached or saturated inside? Use attack=square "
            "and a black-box protocol too"
        ]
    likeness = None if coupled else gradient_likeness(model, images[:LOOKED_AT])
    if likeness is not None and likeness < ALIKE:
        return [
            f"the scores do not change as their gradient says (cosine {likeness:.2f}, expected at least {ALIKE}), so "
            "that attacks follow a wrong one; is a part of it rounded, detached, or replaced in the backward pass? Use "
            "attack=square and a black-box protocol too"
        ]
    return []


def gradient_likeness(model: nn.Module, images: Tensor) -> float | None:
    """Return how well the gradient predicts the effect of small random changes of ``images`` on the highest score.

    Returns:
        the cosine between predicted and measured changes of its lead over the mean score, over at least ``PROBES``
        directions of -1 and 1, or None if curvature or rounding explains that it is not 1.
    """
    center = images.detach() * (1 - 2 * STEP) + STEP  # so that no pixel leaves [0, 1]
    x = center.clone().requires_grad_()
    with torch.enable_grad():
        scores = model(x)
        highest = scores.detach().argmax(dim=1, keepdim=True)
        before = _lead(scores, highest)
        (gradient,) = torch.autograd.grad(before.sum(), x)
    generator = torch.Generator(device="cpu").manual_seed(0)
    ups = []
    downs = []
    predicted = []
    for _ in range(-(-PROBES // len(images))):
        coins = torch.randint(0, 2, center.shape, generator=generator, device="cpu")
        step = STEP * (2 * coins - 1).to(center)
        with torch.no_grad():
            ups.append(_lead(model(center + step), highest) - before)
            downs.append(before - _lead(model(center - step), highest))
        predicted.append((gradient.double() * step.double()).flatten(1).sum(dim=1))
    up, down, expected = (torch.cat(parts).detach() for parts in (ups, downs, predicted))
    smooth = _cosine(up, down)
    alike = _cosine(up + down, expected)
    if smooth is None or alike is None or 0 < 1 - alike < CURVED * (1 - smooth):
        return None
    return alike


def _cosine(one: Tensor, other: Tensor) -> float | None:
    """Return the cosine between two vectors, or None if either is zero or not finite."""
    sizes = [vector.double().abs().max() for vector in (one, other)]
    if not all(0 < float(size) < torch.inf for size in sizes):
        return None
    first, second = (vector.double() / size for vector, size in zip((one, other), sizes, strict=True))
    return float(first @ second / (first.norm() * second.norm()))


def _lead(scores: Tensor, highest: Tensor) -> Tensor:
    scores = scores.double()
    return scores.gather(1, highest).squeeze(1) - scores.mean(dim=1)


def about_batches(model: nn.Module, images: Tensor, scores: Tensor, wrapped: nn.Module | None = None) -> list[str]:
    """Return a remark if the scores of an image depend on the others of its batch, with the possible cause.

    Args:
        model: in eval mode, with the same scores in every pass.
        images: ``(B, C, H, W)``.
        scores: ``(B, classes)``, those of ``images`` in one batch.
        wrapped: the module whose layers are named, if ``model`` is a wrapper of it.
    """
    if len(images) < 2:
        return []
    with torch.no_grad():
        parts = [model(part.clone()) for part in (images[:1], images[1:3], images[3:]) if len(part)]
    apart = float((torch.cat(parts).double() - scores.double()).nan_to_num(0, 0, 0).abs().max())
    coarse = 16 * torch.finfo(scores.dtype).eps * float(scores.double().nan_to_num(0, 0, 0).abs().max())
    if apart <= max(APART * spread(scores), coarse):
        return []
    causes = named(unsteady_norms(wrapped or model))
    because = f"; without running statistics: {causes}" if causes else ""
    return [
        f"the scores of an image change by up to {apart:.2g} with the other images of its batch, so that every number "
        f"is of these batches alone{because}"
    ]


def alike(scores: Tensor, again: Tensor) -> bool:
    """Return whether two passes gave the same ``scores`` ``(B, classes)`` up to rounding, at any scale."""
    return torch.allclose(scores, again, rtol=1e-3, atol=1e-3 * min(1.0, spread(scores)))


def about_network(network: nn.Module, images: Tensor) -> list[str]:
    """Return remarks on an untrained ``network`` in eval mode, from ``images`` ``(B, C, H, W)``."""
    with torch.no_grad():
        scores = network(images.clone())
        again = network(images.clone())
    return about_modules(network) + (about_batches(network, images, scores) if alike(scores, again) else [])


def unsteady_norms(model: nn.Module) -> list[str]:
    """Return the names of modules of ``model`` that normalise by the batch even in eval mode."""
    return [
        name or type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, _NormBase)
        and not isinstance(module, nn.modules.instancenorm._InstanceNorm)
        and module.running_mean is None
    ]


def hidden_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield names and modules in plain containers of ``model``, which ``.eval()`` does not reach."""
    reached = {id(module) for module in model.modules()}
    internal = vars(nn.Module()).keys()
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in internal:
                yield from _within(value, f"{prefix}.{name}" if prefix else name, reached, DEEPEST)


def _within(value: Any, name: str, reached: set[int], depth: int) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module):
        if id(value) not in reached:
            yield name, value
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from _within(item, f"{name}[{key!r}]", reached, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _within(item, f"{name}[{index}]", reached, depth - 1)


def about_modules(model: nn.Module) -> list[str]:
    """Return a remark on hidden modules of a ``model`` in eval mode that are in train mode and compute differently."""
    training = [name for name, module in hidden_modules(model) if any(map(_is_affected, module.modules()))]
    if not training:
        return []
    return [
        f"in train mode, and out of reach of .eval() and .to(): {named(training)}; keep modules in an nn.ModuleList or "
        "an nn.ModuleDict"
    ]


def _is_affected(module: nn.Module) -> bool:
    """Return whether ``module`` is in train mode and may compute something else there than in eval mode."""
    stateful = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    return module.training and (stateful or isinstance(module, nn.modules.dropout._DropoutNd | _NormBase | nn.RReLU))


def named(names: list[str]) -> str:
    """Return the first of ``names`` in quotes, and the number of the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
