from functools import partial

import pytest
import torch
import torchvision.models.resnet as torchvision_resnet
from torch import nn

from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.fold import folded
from robustbench_ens.models.nodes import NamedNodes
from robustbench_ens.models.resnet import BasicBlock, ResNet
from robustbench_ens.perturb.skip_gradient import branch_ends, skip_gradient
from tests import golden


class TwoBlocks(nn.Module):
    """``y = x + b * act(a * x)``, twice, on images of one pixel: of a 3x3 kernel only the centre counts."""

    def __init__(self, activation, weights=((3.0, -0.5), (2.0, 4.0))):
        super().__init__()
        self.blocks = nn.Sequential(*(BasicBlock(1, 1, 1, activation) for _ in weights)).double().eval()
        for block, pair in zip(self.blocks, weights, strict=True):
            for convolution, weight in zip((block.conv1, block.conv2), pair, strict=True):
                nn.init.constant_(convolution.weight, weight)
            block.bn1.eps = block.bn2.eps = 0.0

    def forward(self, x):
        for block in self.blocks:
            x = block.outer(x, block.inner(x))
        return x


def input_gradient(model, images):
    x = images.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": partial(nn.LeakyReLU, 0.1)}


@pytest.mark.parametrize("fold", [folded, lambda model, images: model])
@pytest.mark.parametrize(
    ("activation", "gamma", "expected"),
    [
        # From 2: a x = 6, branch -3, so -1; then -2, and behind LeakyReLU -0.2, branch -0.8.
        # Branches' derivatives: 3 * -0.5 = -1.5, and 2 * 0.1 * 4 = 0.8 (with ReLU 0).
        ("leaky_relu", 0.2, (1 - 0.2 * 1.5) * (1 + 0.2 * 0.8)),
        ("leaky_relu", 1.0, (1 - 1.5) * (1 + 0.8)),
        ("leaky_relu", 0.0, 1.0),
        ("relu", 0.2, 1 - 0.2 * 1.5),
        ("relu", 0.5, 1 - 0.5 * 1.5),
    ],
)
def test_two_blocks_by_hand(fold, activation, gamma, expected):
    x = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64, requires_grad=True)
    model = fold(TwoBlocks(ACTIVATIONS[activation]), x)
    before = model(x)
    skip_gradient(model, gamma)
    after = model(x)
    assert torch.equal(before, after)
    assert after.item() == pytest.approx({"leaky_relu": -1.8, "relu": -1.0}[activation])
    (gradient,) = torch.autograd.grad(after, x)
    assert gradient.item() == pytest.approx(expected, rel=1e-12)


def test_an_ensemble_of_two_blocks_by_hand():
    """Each sub-model has its own chain: 0.812 for the first, (1 + 0.2 * 2)(1 + 0.2 * 0.3) for the second."""
    leaky = ACTIVATIONS["leaky_relu"]
    ensemble = Ensemble([TwoBlocks(leaky), TwoBlocks(leaky, ((1.0, 2.0), (0.5, 0.6)))])
    skip_gradient(ensemble, 0.2)
    x = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64, requires_grad=True)
    logits = ensemble.member_logits(x)
    assert logits.flatten().tolist() == pytest.approx([-1.8, 6 + 0.5 * 0.6 * 6])
    gradients = [torch.autograd.grad(logit.sum(), x, retain_graph=True)[0].item() for logit in logits]
    assert gradients == pytest.approx([0.812, 1.4 * 1.06], rel=1e-12)


def written_out(gamma):
    """The definition, as a forward pass, in place of ``BasicBlock.outer``."""

    def outer(self, x, inner):
        branch = self.bn2(self.conv2(self.relu(inner)))
        if self.downsample is not None:
            return self.downsample(x) + branch
        return x + gamma * branch + (1 - gamma) * branch.detach()

    return outer


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("attacked", ["single", "ensemble"])
def test_the_gradient_of_a_resnet_20_is_that_of_the_definition(activation, attacked, monkeypatch):
    path = golden.CHECKPOINT if activation == "relu" else golden.LEAKY_CHECKPOINT
    ensemble, images = golden.ensemble(path, activation), golden.vectors()["x"][:2]
    model = ensemble if attacked == "ensemble" else ensemble.members[0]
    outputs = model(images)
    handles = skip_gradient(model, 0.2)
    assert torch.equal(model(images), outputs)
    found = input_gradient(model, images)
    for handle in handles:
        handle.remove()
    ordinary = input_gradient(model, images)
    with monkeypatch.context() as patch:
        patch.setattr(BasicBlock, "outer", written_out(0.2))
        expected = input_gradient(model, images)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-12)
    assert (found - ordinary).abs().max() > 0.01 * scale


def torchvision_forward(gamma, ends):
    def forward(self, x):
        branch = x
        for index in range(1, ends + 1):
            branch = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(branch))
            branch = branch if index == ends else branch.relu()
        if self.downsample is not None:
            return (self.downsample(x) + branch).relu()
        return (x + gamma * branch + (1 - gamma) * branch.detach()).relu()

    return forward


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "ends", "identity_skips"),
    [(torchvision_resnet.BasicBlock, 2, 3), (torchvision_resnet.Bottleneck, 3, 2)],
)
def test_torchvisions_blocks_add_in_place_and_still_get_the_definitions_gradient(
    block, ends, identity_skips, monkeypatch
):
    torch.manual_seed(0)
    network = torchvision_resnet.ResNet(block, [2, 2, 1, 1]).double().eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = SubModel(NamedNodes(network, ["layer1", "fc"]), torch.zeros(3), torch.ones(3))
    model = folded(ours, images).double()
    outputs = model(images)
    assert len(skip_gradient(model, 0.2)) == identity_skips
    assert torch.equal(model(images), outputs)
    with monkeypatch.context() as patch:
        patch.setattr(block, "forward", torchvision_forward(0.2, ends))
        expected = input_gradient(network, images)
    scale = expected.abs().max()
    torch.testing.assert_close(input_gradient(model, images) / scale, expected / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("depth", "identity_skips"), [(8, 1), (14, 4), (20, 7)])
def test_blocks_whose_shape_changes_are_left_alone(depth, identity_skips):
    assert len(branch_ends(ResNet(depth))) == identity_skips


def test_images_without_a_gradient_pass_through():
    model = golden.ensemble().members[0].requires_grad_(False)
    skip_gradient(model, 0.2)
    model(golden.vectors()["x"][:1])


def test_a_network_without_identity_skips_is_an_error():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))
    with pytest.raises(
        UserError, match="attack sgm: expected residual blocks with an identity skip, got none in the ne"
    ):
        skip_gradient(plain, 0.2)
    with pytest.raises(UserError, match=r"got none in the network; known blocks: robustbench_ens.models.resnet.BasicB"):
        skip_gradient(nn.Sequential(BasicBlock(3, 4, 1, nn.ReLU)), 0.2)
    mixed = Ensemble([ResNet(8), plain])
    with pytest.raises(UserError, match="got none in sub-model 1"):
        skip_gradient(mixed, 0.2)
    assert not any(module._forward_hooks for module in mixed.modules())
