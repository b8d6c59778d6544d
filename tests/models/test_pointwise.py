from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from robustbench_ens.models.fold import folded
from robustbench_ens.models.nodes import NamedNodes
from robustbench_ens.models.pointwise import StridedPointwise, unsafe_convolutions, warnings_about
from robustbench_ens.models.resnet import ResNet as OurResNet


def pair(channels: int, stride: int) -> tuple[StridedPointwise, nn.Conv2d]:
    ours = StridedPointwise(channels, 2 * channels, stride).double()
    plain = nn.Conv2d(channels, 2 * channels, 1, stride, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (5, 6), (1, 3)])
def test_it_is_the_function_of_a_strided_convolution(
    size: tuple[int, int], stride: int, layout: torch.memory_format
) -> None:
    convolutions = pair(3, stride)
    drawn = torch.rand(2, 3, *size, dtype=torch.float64)
    found = []
    for convolution in convolutions:
        convolution.to(memory_format=layout)
        x = drawn.contiguous(memory_format=layout).requires_grad_()
        outputs = convolution(x)
        (by_input,) = torch.autograd.grad(outputs.pow(3).sum(), x, create_graph=True)
        by_input.square().sum().backward()
        found.append((outputs, by_input, x.grad, convolution.weight.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_the_weights_are_drawn_and_named_as_those_of_a_strided_convolution() -> None:
    torch.manual_seed(0)
    ours = StridedPointwise(3, 5, 2)
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, 1, 2, bias=False)
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert torch.equal(ours.weight, plain.weight)
    assert "layer2.0.downsample.0.weight" in OurResNet(8).state_dict()


def test_copies_keep_it_folded_or_not() -> None:
    network = OurResNet(8, width=4)
    for found in (copy.deepcopy(network), folded(network, torch.rand(2, 3, 8, 8))):
        for block in found.blocks()[1:]:
            assert isinstance(block.downsample, nn.Sequential)
            assert isinstance(block.downsample[0], StridedPointwise)


def torchvision_resnet(width: int) -> nn.Module:
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    network.layer2[0].downsample[0] = nn.Conv2d(width, 128, 1, 2, bias=False)
    return network


@pytest.mark.parametrize(
    ("layer", "unsafe"),
    [
        (nn.Conv2d(7, 8, 1, 2), True),
        (nn.Conv2d(1, 8, 1, 3), True),
        (nn.Conv2d(4, 8, 1, (1, 2), bias=False), True),
        (nn.Conv2d(16, 16, 1, 2, groups=4), True),
        (nn.Conv2d(8, 8, 1, 2), False),
        (nn.Conv2d(16, 16, 1, 2, groups=2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, 2), False),
        (nn.Conv2d(4, 8, (1, 2), 2), False),
        (nn.Conv1d(4, 8, 1, 2), False),
        (StridedPointwise(4, 8, 2), False),
    ],
    ids=str,
)
def test_narrow_strided_1x1_convolutions_are_found(layer: nn.Module, unsafe: bool) -> None:
    assert unsafe_convolutions(layer) == ([type(layer).__name__] if unsafe else [])
    assert unsafe_convolutions(nn.Sequential(nn.ReLU(), layer)) == (["1"] if unsafe else [])


def test_they_are_found_behind_named_nodes() -> None:
    assert unsafe_convolutions(NamedNodes(torchvision_resnet(4), ["conv1"])) == ["network.layer2.0.downsample.0"]
    assert unsafe_convolutions(NamedNodes(torchvision_resnet(64), ["conv1"])) == []


def test_one_line_says_where_and_what_to_do() -> None:
    (line,) = warnings_about(nn.Sequential(*(nn.Conv2d(4, 4, 1, 2) for _ in range(5))), "model")
    assert line.startswith(
        "model: 1x1 convolutions with a stride and fewer than 8 input channels in '0', '1', '2' and 2 more; "
    )
    assert "\n" not in line
    assert "AVX2" in line
    assert warnings_about(OurResNet(8, width=4), "model") == []
