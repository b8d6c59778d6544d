"""A torchvision network as a sub-model, with layers that DVERGE can distil from."""

from torch import nn
from torchvision.models.shufflenetv2 import ShuffleNetV2

from robustbench_ens.models.nodes import NamedNodes


def build(channels: int, classes: int) -> nn.Module:
    """A ShuffleNetV2 for small images: its first two strides taken out."""
    network = ShuffleNetV2([1, 2, 1], [8, 16, 32, 64, 128], num_classes=classes)
    network.conv1[0] = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return NamedNodes(network, ["conv1.1", "stage2.0.cat", "stage3.1.cat", "conv5.1", "fc"])
