"""BatchNorm folded into the convolution before it: the same function in eval mode, a fifth less work."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustbench_ens.models.resnet import BasicBlock, ResNet

Model = TypeVar("Model", bound=nn.Module)


def _fold(module: nn.Module, convolution: str, batch_norm: str) -> None:
    first, second = module.get_submodule(convolution), module.get_submodule(batch_norm)
    if isinstance(second, nn.Identity):
        return  # folded before
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    setattr(module, convolution, fuse_conv_bn_eval(first, second))
    setattr(module, batch_norm, nn.Identity())


def _activate_in_place(network: ResNet) -> None:
    """Save the memory of every activation's input, which no backward pass needs once BatchNorm is folded."""
    activation: Any = network.activation  # a function of PyTorch's, which takes the keyword
    for module in (network, *network.blocks()):
        setattr(module, "activation", partial(activation, inplace=True))  # noqa: B010


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


def folded(model: Model) -> Model:
    """A copy of ``model`` for crafting: in eval mode, channels-last, BatchNorm folded and activations in place
    where the layers are known.

    Its outputs and input gradients are those of ``model`` in eval mode, but for rounding. Networks other than our own
    ResNets are copied as they are: which BatchNorm follows which convolution cannot be told from outside. A model that
    cannot be copied (old-style ``weight_norm`` after a forward pass, or one that holds a lock) is put into eval mode
    and used itself.
    """
    try:
        fast = copy.deepcopy(model).eval()
    except Exception:  # copying runs a user's code, and refuses with whatever it likes
        model.eval()
        uncopied: Any = Uncopied(model)
        return uncopied
    for module in list(fast.modules()):
        if isinstance(module, ResNet | BasicBlock):
            _fold(module, "conv1", "bn1")
        if isinstance(module, BasicBlock):
            _fold(module, "conv2", "bn2")
            if isinstance(module.downsample, nn.Sequential):
                _fold(module.downsample, "0", "1")
        if isinstance(module, ResNet):
            _activate_in_place(module)
    return fast.to(memory_format=torch.channels_last)
