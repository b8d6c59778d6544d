"""Modes and copies of modules of any kind."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def _refuses_modes(module: nn.Module) -> bool:
    """Return whether ``module`` comes from ``torch.export``, which fixes the mode in which it was exported."""
    return "eval" in vars(module)


def eval_mode(model: Model) -> Model:
    """Put ``model`` into eval mode and return it. Exported modules in it are unchanged."""
    try:
        return model.eval()
    except NotImplementedError:
        for module in model.modules():  # .eval() has not reached the siblings of the module that refused
            module.training = False
        return model


def in_train_mode(model: nn.Module) -> bool:
    """Return whether a module of ``model`` is in train mode. Exported and frozen modules have no mode."""
    if _refuses_modes(model):
        return False
    return getattr(model, "training", False) or any(map(in_train_mode, model.children()))


def copied(model: Model) -> Model:
    """Return a copy of ``model`` with weights of its own.

    Raises:
        Exception: copying a user's module may raise anything.
    """
    with torch.no_grad():  # otherwise a ScriptModule's copy has weights computed from the original's
        return copy.deepcopy(model)


def outside_inference(model: Model) -> Model:
    """Return ``model``, or a copy if its weights were made in inference mode, where they have no gradients.

    A model that cannot be copied is returned itself.
    """
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        with suppress(Exception):  # copying runs a user's code, which may raise anything
            return copied(model)
    return model
