"""The architecture of a model without its weights, which decides how much memory a batch takes."""

from __future__ import annotations

import re
from contextlib import suppress

from torch import nn

from robustbench_ens.core.store import digest_json

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""The address in Python's text for an object without a name, which differs in every process."""


def architecture(model: nn.Module) -> str:
    """Return a digest of names, classes, arguments, and shapes and dtypes of tensors of the modules of ``model``."""
    return digest_json([_described(name, part) for name, part in model.named_modules()])


def _described(name: str, module: nn.Module) -> list[object]:
    arguments = ""
    with suppress(Exception):  # a user's code may raise anything, and shapes distinguish most architectures
        arguments = ADDRESS.sub("", module.extra_repr())
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    shapes = [[key, list(tensor.shape), str(tensor.dtype)] for key, tensor in tensors]
    return [name, f"{type(module).__module__}:{type(module).__qualname__}", arguments, shapes]
