"""Models small enough for the answer of an attack to be known, and how attacks are run on them."""

import torch
from torch import nn

from robustbench_ens.config.attacks import ATTACKS, attack_class
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.resnet import BasicBlock
from robustbench_ens.perturb.attack import Pool
from tests.crafting import craft_by

IMAGES = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(10) % 2
MIXED, POSITIVE = torch.linspace(-1, 1, 16, dtype=torch.float64), torch.linspace(0.1, 1, 16, dtype=torch.float64)


class Linear(nn.Module):
    """``w x`` and 0 as logits of two classes, behind a residual block without activation that is ``x + x / 4``."""

    def __init__(self, weight, channels=1, bias=0.0):
        super().__init__()
        self.block = BasicBlock(channels, channels, 1, nn.Identity)
        self.head = nn.Linear(len(weight), 2)
        for convolution in (self.block.conv1, self.block.conv2):
            nn.init.zeros_(convolution.weight)
            for channel in range(channels):
                convolution.weight.data[channel, channel, 1, 1] = 0.5
        self.double()
        self.head.weight.data.copy_(torch.stack([weight, torch.zeros_like(weight)]))
        self.head.bias.data.copy_(torch.tensor([bias, 0.0]))
        self.eval()

    def forward(self, x):
        return self.head(self.block.outer(x, self.block.inner(x)).flatten(1))


class Curved(Linear):
    """The logits of :class:`Linear`, bent, so that another way there is another place."""

    def forward(self, x):
        return super().forward(x) * torch.sin(9 * x.flatten(1)).sum(dim=1, keepdim=True)


def three(kind, weight, **changes):
    """An ensemble of three models whose weights differ in scale, so that all have the same closed form."""
    return Ensemble([kind(scale * weight, **changes) for scale in (1.0, 0.3, 2.0)]).eval()


def curved():
    """An ensemble of three models that lead to different places."""
    return Ensemble([Curved(MIXED), Curved(POSITIVE), Curved(POSITIVE.flip(0))]).eval()


SMALLER = {"copies": 4, "scales": 2, "mixes": 2, "neighbours": 3, "inner_steps_per_member": 2}
"""Of what attacks take many; what is tested does not depend on how many."""


def smaller(patch):
    """Let every attack take few copies and neighbours, so that tests of many attacks take seconds."""
    for attack in map(attack_class, ATTACKS):
        for name, count in SMALLER.items():
            if getattr(attack, name, 1) > 1:
                patch.setattr(attack, name, count)


def run(model=None, images=IMAGES, labels=LABELS, indices=range(10), **changes):
    """Craft, by default with PGD on ten images, which are the pool whatever images are attacked."""
    settings = {"attack": "pgd", "loss": "cross_entropy", "eps": 0.1, "step_size": 0.05, "steps": 8}
    settings |= {"start_key": (0, 0), "pool": Pool(IMAGES, LABELS)} | changes
    return craft_by(model or Linear(POSITIVE), images, labels, list(indices), **settings)
