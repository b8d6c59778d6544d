"""Folding of BatchNorm into the convolution before it: the same function in eval mode with a fifth less work."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.layout import layout_of
from robustbench_ens.models.modes import copied, eval_mode
from robustbench_ens.models.resnet import BasicBlock, ResNet

Model = TypeVar("Model", bound=nn.Module)


def _fold(module: nn.Module, convolution: str, batch_norm: str) -> None:
    first = module.get_submodule(convolution)
    second = module.get_submodule(batch_norm)
    if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.BatchNorm2d):
        return  # already folded, or replaced by the author of the network
    setattr(module, convolution, fuse_conv_bn_eval(first, second))
    setattr(module, batch_norm, nn.Identity())


def _is_watched(module: nn.Module) -> bool:
    """Return whether ``module``, or a module in it, has hooks or parametrizations."""
    return any(
        part._forward_hooks
        or part._forward_pre_hooks
        or part._backward_hooks
        or part._backward_pre_hooks
        or is_parametrized(part)
        for part in module.modules()
    )


def _compute_in_place(module: ResNet | BasicBlock) -> None:
    """Compute activations in place, whose inputs no backward pass needs once BatchNorm is folded, to save memory."""
    if isinstance(module.relu, nn.ReLU | nn.LeakyReLU):
        module.relu.inplace = True
    if isinstance(module, BasicBlock):
        module.adds_in_place = True


def _fold_known(module: nn.Module) -> None:
    """Fold the layers of ``module`` itself, if it is one of this package's networks without hooks."""
    if not isinstance(module, ResNet | BasicBlock) or _is_watched(module):
        return
    _fold(module, "conv1", "bn1")
    if isinstance(module, BasicBlock):
        _fold(module, "conv2", "bn2")
        if isinstance(module.downsample, nn.Sequential):
            _fold(module.downsample, "0", "1")
    _compute_in_place(module)


class Uncopied(nn.Module):
    """A wrapper of a model that cannot be copied, which hides its modules and parameters from changes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple, so that it is not registered as a child
        members = getattr(model, "members", None)
        if isinstance(members, nn.ModuleList):
            self.members = nn.ModuleList(map(Uncopied, members))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the model."""
        scores: Tensor = self._model[0](x)
        return scores


class Hookable(nn.Module):
    """A wrapper of a scripted module, which does not support the hooks that count passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the scripted module."""
        scores: Tensor = self.model(x)
        return scores


def _hookable(model: Any) -> Any:
    """Return ``model``, wrapped if it is scripted, with scripted sub-models wrapped in place."""
    if isinstance(model, torch.jit.ScriptModule):
        return Hookable(model)
    members: Any = getattr(model, "members", None)
    if isinstance(members, nn.ModuleList):
        for index, member in enumerate(members):
            if isinstance(member, torch.jit.ScriptModule):
                members[index] = Hookable(member)
    return model


def _uncopied(model: nn.Module) -> Any:
    """Return ``model`` wrapped in :class:`Uncopied`, or an ensemble of wrapped sub-models with its aggregation."""
    if type(model) is Ensemble:
        return eval_mode(Ensemble(map(Uncopied, model.members), model.aggregation, model.chances))
    return Uncopied(model)


def folded(model: Model, images: Tensor) -> Model:
    """Return a copy of ``model`` for crafting, in eval mode, channels-last, with BatchNorm folded.

    Activations are computed in place. Layers are changed only if they are known and have no hooks. Parameters require
    no gradients. Up to rounding, outputs and input gradients are those of ``model`` in eval mode. Networks other than
    the ResNets of this package are copied unchanged, since their modules do not show which BatchNorm follows which
    convolution. A model that does not work in channels-last memory stays contiguous. One that cannot be copied
    (old-style ``weight_norm`` after a forward pass, or one that holds a lock) is put into eval mode and used itself.

    Args:
        model: maps images to scores.
        images: ``(B, C, H, W)`` on the model's device, some of the images to craft for, to test the layout on.
    """
    try:
        fast = eval_mode(copied(model))
    except Exception:  # copying runs a user's code, which may raise anything
        return _uncopied(eval_mode(model))
    layout = layout_of(fast, images)
    for module in list(fast.modules()):
        _fold_known(module)
    for parameter in fast.parameters():  # ScriptModules have no `requires_grad_`
        parameter.requires_grad_(False)
    prepared: Model = _hookable(fast.to(memory_format=layout))
    return prepared
