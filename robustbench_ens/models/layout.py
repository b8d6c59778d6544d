"""Channels-last memory for networks that work in it: the same function, faster on most processors."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from robustbench_ens.core.seeds import GLOBAL_GENERATORS
from robustbench_ens.models.adapted import Adapted, Watched
from robustbench_ens.models.ensemble import Ensemble, Normalizer, SubModel
from robustbench_ens.models.modes import copied
from robustbench_ens.models.pointwise import StridedPointwise
from robustbench_ens.models.resnet import BasicBlock, ResNet

PROBED = 2
"""Images that a network is shown in each layout: in a batch of one, ``view`` accepts any layout."""

TOLERANCE = 0.1
"""Of the largest score. Rounding stays far below it, and scores of other pixels, as ``as_strided`` reads, far above."""

_WORKING = (Adapted, BasicBlock, Ensemble, Normalizer, ResNet, StridedPointwise, SubModel, Watched)


def _works(module: nn.Module) -> bool:
    """Whether the code of ``module`` is known to work in any layout."""
    hooked = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return (type(module) in _WORKING or type(module).__module__.startswith("torch.nn.")) and not any(hooked)


def _scores(model: nn.Module, images: Tensor) -> Tensor:
    """Scores of ``images``, after a backward pass through them where there is one."""
    x = images.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        scores: Tensor = model(x)
        if scores.requires_grad:
            torch.autograd.grad(scores.sum(), x, allow_unused=True)
    return scores.detach()


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point() or not one.numel():
        return not torch.equal(one, other)
    return not bool((one - other).abs().max() <= TOLERANCE * one.abs().max())


def contiguous(images: Tensor) -> Tensor:
    """Return ``images`` with the strides of the contiguous layout, also where they have one channel.

    The strides of such images may be those of both layouts, ``contiguous()`` leaves them as they are, and a convolution
    takes them for channels-last.
    """
    usual = torch.empty(images.shape, dtype=images.dtype, device="meta").stride()
    return images if images.stride() == usual else images.clone(memory_format=torch.contiguous_format)


def needs_contiguous(model: nn.Module, images: Tensor) -> bool:
    """Return whether ``model`` works in contiguous memory alone: channels-last makes it raise, or go wrong.

    It then needs :func:`contiguous` images too.

    A model that works in neither needs none. Copies are tried, and PyTorch's generators are afterwards as before.

    Args:
        model: any module that can be copied, in the mode that it will be used in.
        images: ``(B, C, H, W)`` on its device; the first :data:`PROBED` are used.
    """
    if not len(images) or all(_works(module) for module in model.modules()):
        return False
    shown = images[:PROBED]
    devices = [shown.device] if shown.device.type == "cuda" else []

    def scores(layout: torch.memory_format) -> Tensor:
        with GLOBAL_GENERATORS, torch.random.fork_rng(devices=devices):
            given = contiguous(shown) if layout is torch.contiguous_format else shown
            return _scores(copied(model).to(memory_format=layout), given)

    expected = None
    with suppress(Exception):  # a user's code raises whatever it likes, and raises it again where it is used
        expected = scores(torch.contiguous_format)
    if expected is None:
        return False
    try:
        found = scores(torch.channels_last)
    except Exception:  # as above
        return True
    return _differ(expected, found) and not _differ(expected, scores(torch.contiguous_format))


def layout_of(model: nn.Module, images: Tensor) -> torch.memory_format:
    """Return channels-last, or the contiguous layout where ``model`` needs it; see :func:`needs_contiguous`."""
    return torch.contiguous_format if needs_contiguous(model, images) else torch.channels_last


def contiguous_remark(where: str) -> str:
    """Return the line that says that the model ``where`` is computed in contiguous memory."""
    return (
        f"{where}: the model does not work in channels-last memory and is computed in contiguous memory, which may be "
        "slower; .reshape in place of .view would do in both"
    )
