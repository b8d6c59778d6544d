from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.models.adapted import Adapted, Watched, adapted, takes_own_dtype_alone
from robustbench_ens.models.ensemble import Ensemble

IMAGES = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.5).div_(0.25).flatten(1)


class BehindAutograd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.data.mul_(2)
        return x.flatten(1)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize(("kind", "changes"), [(InPlace, True), (BehindAutograd, True), (Plain, False)])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_watched_model_changes_nothing_and_is_seen_to_try(
    kind: type[nn.Module], changes: bool, gradient: bool
) -> None:
    images = IMAGES.clone().requires_grad_(gradient)
    watched = Watched(kind())
    scores = watched(images)
    assert watched.changed == changes
    assert torch.equal(images, IMAGES)
    assert torch.equal(scores, kind()(IMAGES.clone()))
    assert scores.requires_grad == gradient


def test_the_gradient_passes_through_the_copy() -> None:
    x = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Adapted(InPlace())(x).sum(), x)
    assert torch.equal(gradient, torch.full_like(x, 4))


def test_a_model_that_needs_nothing_is_left_alone() -> None:
    model = Plain()
    assert adapted(model, changes_input=False, converts=False) is model


def test_each_sub_model_of_an_ensemble_sees_the_images() -> None:
    ensemble = Ensemble([InPlace(), InPlace(), Plain()], "mean_logits").eval()
    found = adapted(ensemble, changes_input=True, converts=False)
    assert isinstance(found, Ensemble)
    assert found.aggregation == "mean_logits"
    once = InPlace()(IMAGES.clone())
    torch.testing.assert_close(found.member_logits(IMAGES), torch.stack([once, once, IMAGES.flatten(1)]))


def test_members_of_other_models_are_adapted_with_them() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList([InPlace(), Plain()])

        def forward(self, x: Tensor) -> Tensor:
            return self.members[0](x.clone()) + self.members[1](x)  # type: ignore[no-any-return]

    found = adapted(Sum(), changes_input=True, converts=False)
    images = IMAGES.clone()
    for member in found.members:  # type: ignore[union-attr]
        member(images)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("images", [IMAGES, IMAGES.double()])
def test_the_models_dtype_decides_what_it_is_fed(dtype: torch.dtype, images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).to(dtype).eval()
    alone = takes_own_dtype_alone(model, images)
    assert alone == (dtype != images.dtype)
    found = adapted(model, changes_input=False, converts=alone)
    scores = found(images)
    assert scores.dtype == images.dtype
    assert torch.equal(scores, model(images.to(dtype)).to(images.dtype))
    assert found.double()(images.double()).dtype == torch.float64  # where an attack takes another precision


def test_a_model_that_takes_both_is_shown_the_images_as_they_are() -> None:
    class Converts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3).half()

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.linear(((x - 0.5) / 0.25).half().flatten(1))
            return scores

    assert not takes_own_dtype_alone(Converts(), IMAGES)


def test_looking_draws_nothing() -> None:
    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.linear(x.flatten(1) + torch.rand(4))
            return scores

    model, state = Random(), torch.get_rng_state()
    assert takes_own_dtype_alone(model, IMAGES)
    assert torch.equal(torch.get_rng_state(), state)
