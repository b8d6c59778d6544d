from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError
from robustbench_ens.models.restore import as_found, check_filled


class Counting(nn.Module):
    """Counts its calls in two buffers, one written to and one replaced, and drifts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.full((), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = torch.ones(())
        self.layer.weight.data += 1
        scores: Tensor = self.layer(x)
        return scores


def test_whatever_a_forward_or_backward_pass_changes_comes_back() -> None:
    model = Counting()
    model.layer.weight.requires_grad_(False)
    model.layer.bias.grad = torch.ones(2)
    gradient, buffers = model.layer.bias.grad, dict(model.named_buffers())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with as_found(model):
        model.eval().requires_grad_(True)
        model(torch.ones(1, 2)).sum().backward()
        model.double()
    assert all(module.training for module in model.modules())
    assert {name: value.dtype for name, value in model.state_dict().items()} == dict.fromkeys(state, torch.float32)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) or name == "replaced"
    assert model.replaced.isnan()
    assert all(model.get_buffer(name) is buffer for name, buffer in buffers.items())
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True]
    assert model.layer.weight.grad is None
    assert model.layer.bias.grad is gradient
    assert torch.equal(gradient, torch.ones(2))


def test_what_was_not_changed_is_not_written_to() -> None:
    model = nn.BatchNorm1d(2)
    before = [tensor._version for tensor in model.parameters()]
    with as_found(model):
        model.eval()(torch.ones(3, 2))
    assert [tensor._version for tensor in model.parameters()] == before


def test_weights_of_inference_mode_come_back_too() -> None:
    with torch.inference_mode():
        model = Counting()
        before = model.layer.weight.clone()
        with as_found(model):
            model(torch.ones(1, 2))
    assert torch.equal(model.layer.weight, before)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "got '1.weight' of a lazy module"),
        (nn.LazyBatchNorm2d(), "got 'weight' of a lazy module"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Linear(4, 3, device="meta")), "got '1.weight' on the device 'meta'"),
        (nn.BatchNorm2d(3, affine=False, device="meta"), "got 'running_mean' on the device 'meta'"),
    ],
)
def test_models_without_weights_are_refused(model: nn.Module, says: str) -> None:
    with pytest.raises(UserError, match=f"^mine: expected weights, {says}") as error:
        check_filled(model, "mine")
    assert "\n" not in str(error.value)
