"""Differentiable input gradients (GAL, TRS) with cheaper second derivatives of BatchNorm.

Autograd composes the second derivative of BatchNorm of many elementwise operations, 55% of a training step of GAL (3
ResNet-20, bf16, batch 128; AMD EPYC, one thread, PyTorch 2.15, profile of 2 steps). Here it is one call of the first
derivative's own kernel and a weighted sum of tensors.

With ``x^ = (x - mean) r`` per channel, the first derivative is the symmetric linear map of the output's gradient ``g``

    gx = w r (g - <g> - x^ <g x^>),        <.>: mean over batch and pixels

so that the derivative of ``<v, gx>`` by ``g`` is the same map of ``v``, and by ``x``

    -w r^2 (b v + d g - (b <v> + d <g>) - x^ (3 b d - <v g> + <v> <g>)),        b = <g x^>, d = <v x^>
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_ARGUMENTS = inspect.signature(F.batch_norm)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


class _Forward(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float, eps: float
    ) -> Tensor:
        out, mean, scale = torch.native_batch_norm(x, weight, bias, *running, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (*_Backward.apply(gradient, *ctx.saved_tensors), None, None, None)


def _first(gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by input, weight and bias. ``scale`` includes ``eps`` already, from :class:`_Forward`."""
    return torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, scale, True, 0.0, [True, True, True]
    )


class _Backward(Function):
    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = _first(gradient, x, weight, mean, scale)
        ctx.save_for_backward(gradient, x, weight, mean, scale, *found[1:])
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> tuple[Any, ...]:
        """Return the derivatives of the results of :func:`_first` along ``v``, ``by_weight`` and ``by_bias``.

        The formula for ``v`` is the one in the docstring of the module.
        """
        g, x, weight, mean, scale, sum_gx, sum_g = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        to_g = to_x = to_weight = None
        if v is not None:
            to_g, sum_vx, sum_v = _first(v, x, weight, mean, scale)
            mean_g = sum_g / count
            b = sum_gx / count
            mean_v = sum_v / count
            d = sum_vx / count
            dims = [dim for dim in range(x.dim()) if dim != 1]
            mean_vg = (v.to(scale.dtype) * g).sum(dims) / count
            to_weight = scale * count * (mean_vg - mean_v * mean_g - b * d)
            factor = weight * scale.square()
            along_x = factor * scale * (3 * b * d - mean_vg + mean_v * mean_g)
            constant = factor * (b * mean_v + d * mean_g) - along_x * mean
            to_x = torch.addcmul(_per_channel(constant, x), _per_channel(along_x, x), x)
            to_x = to_x.addcmul_(_per_channel(-factor * b, x), v).addcmul_(_per_channel(-factor * d, x), g)
            to_x = to_x.to(x.dtype)
        # The gradients by weight and bias are sums over batch and pixels, so that their derivatives are plain products.
        if by_weight is not None:
            normalised = (x - _per_channel(mean, x)) * _per_channel(scale, x)
            to_g = _sum(to_g, normalised * _per_channel(by_weight, x))
            to_x = _sum(to_x, _first(g, x, by_weight, mean, scale)[0])
        if by_bias is not None:
            to_g = _sum(to_g, _per_channel(by_bias, x).expand_as(g))
        return None if to_g is None else to_g.to(g.dtype), to_x, to_weight, None, None


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other


class CheapSecondOrder(TorchFunctionMode):
    """A context in which BatchNorm of CPU tensors in train mode uses this module's second derivatives.

    Values and first derivatives do not change. There is no third derivative, as without it. Other devices, eval mode,
    layers without weights or running statistics, and inputs that torch refuses are left to torch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            bound = _ARGUMENTS.bind(*args, **(kwargs or {}))
            bound.apply_defaults()
            given = bound.arguments
            x, weight, bias, *running = (
                given[name] for name in ("input", "weight", "bias", "running_mean", "running_var")
            )
            tensors = (x, weight, bias, *running)
            here = all(tensor is not None and tensor.device.type == "cpu" for tensor in tensors)
            refused = x.numel() == x.shape[1]  # one value per channel, for which torch raises an error
            if given["training"] and here and not refused:
                return _Forward.apply(x, weight, bias, tuple(running), given["momentum"], given["eps"])
        return func(*args, **(kwargs or {}))


def input_gradients(members: nn.ModuleList, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each sub-model ``(M,)`` and its differentiable gradient ``(M, B, C, H, W)``.

    As in the authors' code of TRS, the loss is the mean over the batch, so that gradients shrink with its size.
    """
    with CheapSecondOrder():
        # Each loss by itself: through a stacked one, autograd would carry zeros back through every sub-model, M times.
        losses = [F.cross_entropy(member(images), labels) for member in members]
        gradients = [torch.autograd.grad(loss, images, create_graph=True)[0] for loss in losses]
    return torch.stack(losses), torch.stack(gradients)
