"""Networks that do not work in channels-last memory, of every kind that we could think of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import needs_contiguous
from robustbench_ens.models.resnet import ResNet

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Convolution(nn.Module):
    """A convolution, and a linear layer of what it gives; subclasses flatten in their own ways."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.convolution, self.linear = nn.Conv2d(1, 6, 3), nn.Linear(216, 10)

    def flat(self, z: Tensor) -> Tensor:
        return z.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.flat(self.convolution(x).relu()))
        return scores


class View(Convolution):
    def flat(self, z: Tensor) -> Tensor:
        return z.view(z.shape[0], -1)


class ViewOfBatches(Convolution):
    def flat(self, z: Tensor) -> Tensor:
        return z.view(len(z), -1) if len(z) > 1 else z.reshape(1, -1)


class AsStrided(Convolution):
    """Reads other pixels, and raises nothing."""

    def flat(self, z: Tensor) -> Tensor:
        return z.as_strided((len(z), 216), (216, 1))


class Kernel(Convolution):
    def flat(self, z: Tensor) -> Tensor:
        assert z.is_contiguous(), "this kernel needs contiguous memory"
        return z.flatten(1)


class _ViewsBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.view(-1).view(gradient.shape)


class Backwards(Convolution):
    """Fails on the way back alone."""

    def forward(self, x: Tensor) -> Tensor:
        z = _ViewsBackwards.apply(self.convolution(x))
        return self.convolution.bias.sum() + z.relu().mean(dim=(2, 3)).repeat(1, 2)[:, :10]  # type: ignore[no-any-return]


class Volume(Convolution):
    """Has weights of five dimensions, which have no channels-last layout of that name."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(1, 6, (1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.volume(x.unsqueeze(2)).flatten(1))
        return scores


NEEDY = [View, ViewOfBatches, AsStrided, Kernel, Backwards, Volume]


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    return torch.autograd.grad(model(x)[:, 0].sum(), x)[0]


@pytest.mark.parametrize("kind", NEEDY)
def test_a_network_that_fails_in_channels_last_memory_is_crafted_on_in_contiguous_memory(
    kind: type[Convolution],
) -> None:
    model = kind().eval()
    assert needs_contiguous(model, IMAGES)
    fast = folded(model, IMAGES)
    assert torch.equal(fast(IMAGES), model(IMAGES))
    assert torch.equal(gradient(fast, IMAGES), gradient(model, IMAGES))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_sub_model_that_fails_makes_the_whole_copy_contiguous(place: int) -> None:
    members = [Convolution() for _ in range(3)]
    members[place] = View()
    ensemble = Ensemble(SubModel(member, torch.zeros(1), torch.ones(1)) for member in members).eval()
    fast = folded(ensemble, IMAGES)
    assert torch.equal(fast(IMAGES), ensemble(IMAGES))


def test_networks_that_work_stay_channels_last() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.Linear(216, 10))
    ours = Ensemble([SubModel(ResNet(8, channels=1, width=4), torch.zeros(1), torch.ones(1))])
    for model in (Convolution(), plain, ours):
        assert not needs_contiguous(model.eval(), IMAGES)
        weights = [
            weight for weight in folded(model, IMAGES).parameters() if weight.dim() == 4 and weight[0, 0].numel() > 1
        ]
        assert weights
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


class Returns(Convolution):
    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(super().forward(x))


@pytest.mark.parametrize(
    "change", [lambda z: z.argmax(1), lambda z: z > 0, lambda z: (z, z), lambda z: z * torch.nan, lambda z: z[:0], id]
)
def test_what_a_network_returns_is_judged_elsewhere(change: Any) -> None:
    assert not needs_contiguous(Returns(change), IMAGES)


def test_a_network_that_works_in_neither_layout_is_left_alone() -> None:
    assert not needs_contiguous(nn.Sequential(View(), nn.Linear(3, 3)), IMAGES)


def test_scores_that_change_by_themselves_are_not_taken_for_the_layout() -> None:
    class Noisy(Convolution):
        count = 0

        def forward(self, x: Tensor) -> Tensor:
            Noisy.count += 1
            return super().forward(x) * Noisy.count

    assert not needs_contiguous(Noisy(), IMAGES)


@pytest.mark.parametrize("kind", [Convolution, View])
def test_looking_draws_nothing_and_changes_nothing(kind: type[Convolution]) -> None:
    class Random(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Tensor:
            self.bias = torch.rand(())
            return super().forward(x) + self.bias  # type: ignore[no-any-return]

    model, state, images = Random(), torch.get_rng_state(), IMAGES.clone()
    model.register_buffer("bias", torch.zeros(()))
    assert needs_contiguous(model, images) == (kind is View)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.bias == 0
    assert torch.equal(images, IMAGES)
