import pytest
import torch
from torch import nn

from robustbench_ens.models.fold import folded
from tests import golden


@pytest.mark.slow
def test_folded_networks_give_the_same_outputs_and_gradients():
    ensemble, x = golden.ensemble(), golden.vectors()["x"].clone().requires_grad_()
    fast = folded(ensemble.train(), golden.vectors()["x"])
    torch.testing.assert_close(fast(x), golden.vectors()["ensemble_logprob_eval"], rtol=0, atol=1e-6)
    (expected,) = torch.autograd.grad(ensemble.eval()(x)[:, 0].sum(), x)
    (found,) = torch.autograd.grad(fast(x)[:, 0].sum(), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_no_batch_norm_is_left_and_the_original_is_untouched():
    ensemble = golden.ensemble()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(ensemble, golden.vectors()["x"]).modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in ensemble.modules())


def test_other_networks_are_copied_as_they_are():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2)).train()
    copied = folded(network, torch.rand(2, 1, 8, 8))
    assert copied is not network
    assert isinstance(copied[2], nn.BatchNorm2d)
    assert not copied.training
    assert network.training
