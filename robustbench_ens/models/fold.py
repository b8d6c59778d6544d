"""BatchNorm folded into the convolution before it: the same function in eval mode, a fifth less work."""

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
    first, second = module.get_submodule(convolution), module.get_submodule(batch_norm)
    if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.BatchNorm2d):
        return  # folded before, or replaced by whoever built the network
    setattr(module, convolution, fuse_conv_bn_eval(first, second))
    setattr(module, batch_norm, nn.Identity())


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks or parametrizations depend on what ``module``, or a module in it, does by itself."""
    return any(
        part._forward_hooks
        or part._forward_pre_hooks
        or part._backward_hooks
        or part._backward_pre_hooks
        or is_parametrized(part)
        for part in module.modules()
    )


def _compute_in_place(module: ResNet | BasicBlock) -> None:
    """Save the memory of every activation's input, which no backward pass needs once BatchNorm is folded."""
    if isinstance(module.relu, nn.ReLU | nn.LeakyReLU):
        module.relu.inplace = True
    if isinstance(module, BasicBlock):
        module.adds_in_place = True


def _fold_known(module: nn.Module) -> None:
    """Fold the layers of ``module`` itself, if it is one of our own and nobody watches it."""
    if not isinstance(module, ResNet | BasicBlock) or _is_watched(module):
        return
    _fold(module, "conv1", "bn1")
    if isinstance(module, BasicBlock):
        _fold(module, "conv2", "bn2")
        if isinstance(module.downsample, nn.Sequential):
            _fold(module.downsample, "0", "1")
    _compute_in_place(module)


class Uncopied(nn.Module):
    """A model that cannot be copied, seen from outside only: what is done to the modules and parameters of a copy does
    not reach it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple, so that it is no child
        members = getattr(model, "members", None)
        if isinstance(members, nn.ModuleList):
            self.members = nn.ModuleList(map(Uncopied, members))

    def forward(self, x: Tensor) -> Tensor:
        """What the model says."""
        scores: Tensor = self._model[0](x)
        return scores


class Hookable(nn.Module):
    """A scripted module, which takes no hooks, inside a module that does: passes are counted by hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the scripted module."""
        scores: Tensor = self.model(x)
        return scores


def _hookable(model: Any) -> Any:
    """Return ``model`` with scripted modules wrapped: itself, or its sub-models, in place."""
    if isinstance(model, torch.jit.ScriptModule):
        return Hookable(model)
    members: Any = getattr(model, "members", None)
    if isinstance(members, nn.ModuleList):
        for index, member in enumerate(members):
            if isinstance(member, torch.jit.ScriptModule):
                members[index] = Hookable(member)
    return model


def _uncopied(model: nn.Module) -> Any:
    """Return ``model`` seen from outside only; of an ensemble its sub-models, whose aggregation is followed."""
    if type(model) is Ensemble:
        return eval_mode(Ensemble(map(Uncopied, model.members), model.aggregation, model.chances))
    return Uncopied(model)


def folded(model: Model, images: Tensor) -> Model:
    """A copy of ``model`` for crafting: in eval mode, channels-last, with BatchNorm folded and activations in place
    where the layers are known and have no hooks. Its parameters ask for no gradients.

    Its outputs and input gradients are those of ``model`` in eval mode, but for rounding. Networks other than our own
    ResNets are copied as they are: which BatchNorm follows which convolution cannot be told from outside. A model that
    does not work in channels-last memory stays contiguous. One that cannot be copied (old-style ``weight_norm`` after a
    forward pass, or one that holds a lock) is put into eval mode and used itself.

    Args:
        model: maps images to scores.
        images: ``(B, C, H, W)`` on the model's device, some of those to craft for, to see which layout it works in.
    """
    try:
        fast = eval_mode(copied(model))
    except Exception:  # copying runs a user's code, and refuses with whatever it likes
        return _uncopied(eval_mode(model))
    layout = layout_of(fast, images)
    for module in list(fast.modules()):
        _fold_known(module)
    for parameter in fast.parameters():  # ScriptModules have no `requires_grad_`
        parameter.requires_grad_(False)
    prepared: Model = _hookable(fast.to(memory_format=layout))
    return prepared
