"""The skip gradient method (SGM, arXiv:2002.05990): the gradient prefers skips to residual branches."""

from __future__ import annotations

import sys
from functools import partial

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.resnet import BasicBlock

BRANCH_ENDS = {
    f"{BasicBlock.__module__}.BasicBlock": "bn2",
    "torchvision.models.resnet.BasicBlock": "bn2",
    "torchvision.models.resnet.Bottleneck": "bn3",
}
"""Residual blocks, and what ends their branch; ``downsample`` is ``None`` where the skip is the identity."""


def _blocks() -> dict[type[nn.Module], str]:
    """``BRANCH_ENDS`` by class, of the modules that are imported: no network has a block of another one.

    Importing torchvision takes as long as importing PyTorch.
    """
    found = {}
    for name, end in BRANCH_ENDS.items():
        module, _, block = name.rpartition(".")
        if module in sys.modules:
            found[getattr(sys.modules[module], block)] = end
    return found


def branch_ends(network: nn.Module) -> list[nn.Module]:
    """The last module of the branch of every residual block with an identity skip."""
    blocks = _blocks()
    return [
        module.get_submodule(end)
        for module in network.modules()
        for block, end in blocks.items()
        if isinstance(module, block) and module.downsample is None
    ]


def _scale(gamma: float, module: nn.Module, inputs: object, branch: Tensor) -> None:
    # On the tensor, not in the forward pass: there `gamma * branch + (1 - gamma) * branch` would differ by rounding.
    if branch.requires_grad:
        branch.register_hook(lambda gradient: gamma * gradient)


def skip_gradient(model: nn.Module, gamma: float) -> list[RemovableHandle]:
    """Multiply gradients through residual branches of ``model`` by ``gamma`` from now on; its outputs stay the same.

    In every residual block with an identity skip, ``skip + gamma * branch + (1 - gamma) * branch.detach()``
    (arXiv:2002.05990): the gradient of ``x + f(x)`` is ``1 + gamma * f'(x)``. The released code scales the gradients of
    ReLUs instead; this works with any activation.

    Args:
        model: a network, or an ensemble of networks; usually a copy made for crafting.
        gamma: in [0, 1]; 1 changes nothing.

    Returns:
        handles whose ``remove()`` undoes it.

    Raises:
        UserError: the network, or a sub-model of the ensemble, has no such block.
    """
    found = check_skips(model, "sgm")
    return [end.register_forward_hook(partial(_scale, gamma)) for ends in found for end in ends]


def check_skips(model: nn.Module, attack: str) -> list[list[nn.Module]]:
    """Return the ends of the residual branches of every network.

    Args:
        model: a network, or an ensemble of networks.
        attack: whose name stands in the error.

    Raises:
        UserError: the network, or a sub-model of the ensemble, has no residual block with an identity skip.
    """
    networks = list(model.members) if isinstance(model, Ensemble) else [model]
    found = [branch_ends(network) for network in networks]
    if not all(found):
        where = f"sub-model {found.index([])}" if isinstance(model, Ensemble) else "the network"
        raise UserError(
            f"attack {attack}: expected residual blocks with an identity skip, got none in {where}; known blocks: "
            f"{', '.join(BRANCH_ENDS)}"
        )
    return found
