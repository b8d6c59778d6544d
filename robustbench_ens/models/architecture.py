"""The architecture of a model, whatever its weights: what decides how much memory a batch takes."""

from __future__ import annotations

import re
from contextlib import suppress

from torch import nn

from robustbench_ens.core.store import digest_json

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""What Python shows of objects without a name of their own; it is another one in every process."""


def architecture(model: nn.Module) -> str:
    """Return a digest of the modules of ``model``: names, classes, arguments, shapes and dtypes of tensors."""
    return digest_json([_described(name, part) for name, part in model.named_modules()])


def _described(name: str, module: nn.Module) -> list[object]:
    arguments = ""
    with suppress(Exception):  # a user's code raises whatever it likes, and shapes tell most architectures apart
        arguments = ADDRESS.sub("", module.extra_repr())
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    shapes = [[key, list(tensor.shape), str(tensor.dtype)] for key, tensor in tensors]
    return [name, f"{type(module).__module__}:{type(module).__qualname__}", arguments, shapes]
