"""Models of one's own, left as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError


def check_filled(model: nn.Module, where: str) -> None:
    """Check that every parameter and buffer of ``model`` has values.

    Raises:
        UserError: one is a lazy module's, or on the device ``meta``.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise UserError(
                f"{where}: expected weights, got {name!r} of a lazy module, which has none yet; show the model a batch "
                "of images, or load its weights, first"
            )
        if tensor.is_meta:
            raise UserError(
                f"{where}: expected weights, got {name!r} on the device 'meta', which holds no values; build the model "
                "on another device, or load its weights, first"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.layout == torch.strided and not one.is_quantized and torch.equal(one, other)


class _Found:
    """What a model was: modes, device, values, gradients."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
        tensors = [*model.parameters(), *model.buffers()]
        self._device = tensors[0].device if tensors else None
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
        self._buffers = [
            (module, dict(module._buffers))
            for module in model.modules()
            if not isinstance(module, torch.jit.ScriptModule)  # whose buffers are new Python objects each time
        ]
        for parameter, _, _ in self._parameters:
            parameter.grad = None  # else a backward pass would add to it

    def restore(self) -> None:
        if self._device is not None:
            self._model.to(self._device)
        for module, training in self._modes:
            module.training = training
        for module, buffers in self._buffers:
            module._buffers.clear()
            module._buffers.update(buffers)
        for tensor, value in self._values:
            if tensor.dtype != value.dtype:
                tensor.data = value
        for parameter, asks, gradient in self._parameters:
            if parameter.requires_grad != asks:  # asking is refused by inference tensors
                parameter.requires_grad_(asks)
            parameter.grad = gradient
        with torch.inference_mode():  # which may write into inference tensors too
            for tensor, value in self._values:
                if not _same(tensor, value):
                    tensor.copy_(value)


@contextmanager
def as_found(*models: nn.Module) -> Iterator[None]:
    """Restore each model's modes, device, parameters, buffers and gradients on exit."""
    found = [_Found(model) for model in models]
    try:
        yield
    finally:
        for one in found:
            one.restore()
