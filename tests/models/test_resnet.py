import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.models.resnet import RESNET_DEPTHS, ResNet
from tests import golden


@pytest.mark.parametrize("layer", range(1, 21))
def test_features_match_the_released_code(layer):
    features = golden.ensemble().members[0].features(golden.vectors()["x"][:2], layer)
    expected = golden.vectors()[f"feature_{layer:02d}"].double()  # kept in float32
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)


def test_features_do_not_compute_later_layers():
    network = ResNet(8)
    for later in (network.layer2, network.layer3, network.fc):
        for parameter in later.parameters():
            parameter.data.fill_(torch.nan)
    assert torch.isfinite(network.eval().features(torch.rand(2, 3, 8, 8), 3)).all()


@pytest.mark.parametrize("depth", RESNET_DEPTHS)
def test_every_depth_has_depth_layers(depth):
    network = ResNet(depth, channels=1, classes=7, width=4).eval()
    images = torch.rand(2, 1, 8, 8)
    assert network.num_layers == depth
    assert network(images).shape == (2, 7)
    torch.testing.assert_close(network(images), network.features(images, depth))


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (20, 33)])
def test_any_image_size(size):
    assert ResNet(8)(torch.rand(2, 3, *size)).shape == (2, 10)


def test_leaky_relu_passes_a_tenth_of_what_is_negative():
    network = ResNet(8, activation="leaky_relu")
    assert network.relu(torch.tensor(-2.0)) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet(9), "depth among"),
        (lambda: ResNet(8, activation="tanh"), "expected one of"),
        (lambda: ResNet(8).features(torch.rand(1, 3, 8, 8), 9), "expected 1 to 8, got 9"),
        (lambda: ResNet(8).features(torch.rand(1, 3, 8, 8), 0), "expected 1 to 8, got 0"),
    ],
)
def test_what_does_not_exist_is_an_error(build, message):
    with pytest.raises(UserError, match=message):
        build()
