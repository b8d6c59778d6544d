"""Second derivatives of BatchNorm, against autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from robustbench_ens.training.second_order import CheapSecondOrder


def inputs(shape: tuple[int, ...] = (5, 3, 2, 2)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (shape, 3, 3))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    running = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    return F.batch_norm(x, *running, weight, bias, training=True, eps=0.1)


@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (6, 3)])
def test_first_and_second_derivatives_by_everything(shape: tuple[int, ...]) -> None:
    with CheapSecondOrder():
        assert gradcheck(batch_norm, inputs(shape))
        assert gradgradcheck(batch_norm, inputs(shape))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)]
    first, second = ([layer, nn.BatchNorm2d(8), nn.LeakyReLU(0.1)] for layer in convolutions)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(8 * 36, 4))


def gradients(precision: torch.dtype, cheap: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Of a loss with an input gradient, by the parameters; and the buffers after it."""
    model = network().to(memory_format=torch.channels_last)
    x = torch.rand(16, 3, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    autocast = torch.autocast("cpu", precision, enabled=precision is not torch.float32)
    with autocast, CheapSecondOrder() if cheap else torch.enable_grad():
        loss = F.cross_entropy(model(x), torch.arange(16) % 4)
        (by_input,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + 1e3 * by_input.float().square().sum()).backward()
    return [parameter.grad for parameter in model.parameters()], [by_input.detach(), *model.buffers()]


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_a_network_trains_as_without(precision: torch.dtype, tolerance: float) -> None:
    own, state = gradients(precision, cheap=True)
    torchs, state_without = gradients(precision, cheap=False)
    for one, other in zip(state, state_without, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(own, torchs, strict=True):
        assert (one - other).norm() <= tolerance * other.norm() + 1e-4


def test_left_as_they_are() -> None:
    x, weight, bias = inputs()
    with CheapSecondOrder():
        assert F.batch_norm(x, None, None, training=True).grad_fn.name() == "NativeBatchNormBackward0"
        evaluated = F.batch_norm(x, torch.zeros(3).double(), torch.ones(3).double(), weight, bias)
        assert evaluated.grad_fn.name() == "NativeBatchNormBackward0"
        assert F.batch_norm(x, None, None, weight, bias, training=True).grad_fn.name() == "NativeBatchNormBackward0"
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            batch_norm(x[:1, :, :1, :1], weight, bias)
        assert "_Forward" in batch_norm(x, weight, bias).grad_fn.name()
