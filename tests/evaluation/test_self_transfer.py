"""Self-transfer: an answer whose gradient misleads falls to the plain means of its own sub-models."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustbench_ens import evaluate, load_ensemble
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UnhealthyAttackWarning, UserError
from robustbench_ens.models.aggregations.crossmax import crossmax
from robustbench_ens.models.ensemble import Ensemble

COUNT = 30
DIRECT, MEANS = {"clean", "pgd"}, {"pgd_through_mean_softmax", "pgd_through_mean_logits"}


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    digits = load_dataset("digits")
    return digits.x_test[:COUNT].float() / 255, digits.y_test[:COUNT]


def attacked(model: nn.Module, images: tuple[Tensor, Tensor], changes: str = "") -> pd.DataFrame:
    """White-box PGD from one start, whatever its health."""
    protocol = f"digits/whitebox[eps=[0.2],steps=15,restarts=1,health.images=0,health.loss_rising=0{changes}]"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnhealthyAttackWarning)
        return evaluate(model, *images, protocol, name="target")


def survivors(outcomes: pd.DataFrame, attacks: set[str]) -> int:
    """Images that every one of ``attacks`` left right."""
    rows = outcomes[outcomes["attack"].isin(attacks) & outcomes["correct"].notna()]
    return int(rows.groupby("image")["correct"].all().sum())


class MyCrossMax(nn.Module):
    """An external model that aggregates by itself."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        return crossmax(torch.stack([member(x) for member in self.members]))


class Features(nn.Module):
    """An external model whose members are no classifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([nn.Linear(64, 5), nn.Linear(64, 5)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([member(x.flatten(1)) for member in self.members], dim=1)


def test_crossmax_falls_to_within_its_members_plain_mean(images: tuple[Tensor, Tensor]) -> None:
    ensemble = load_ensemble("digits/baseline-3")
    broken = attacked(ensemble.aggregated("crossmax"), images)
    plain = attacked(ensemble, images)
    assert set(broken["attack"]) == DIRECT | MEANS
    assert set(plain["attack"]) == DIRECT
    assert survivors(broken, DIRECT) > COUNT / 2
    assert survivors(broken, DIRECT | MEANS) <= survivors(plain, DIRECT) + 2
    (sign,) = [sign for sign in broken.attrs["health"] if not sign["healthy"]]
    assert (sign["sign"], sign["attack"]) == ("self_transfer_gain", "pgd")
    assert sign["value"] == pytest.approx((survivors(broken, DIRECT) - survivors(broken, DIRECT | MEANS)) / COUNT)
    assert "try next: attack=square, a black-box protocol" in broken.attrs["warnings"][-1]
    assert plain.attrs["warnings"] == []
    external = attacked(MyCrossMax(ensemble.members).eval(), images)
    assert set(external["aggregation"]) == {"own"}
    assert external["predicted"].fillna(-1).tolist() == broken["predicted"].fillna(-1).tolist()


@pytest.mark.parametrize(
    ("aggregation", "changes", "expected"),
    [
        ("mean_softmax", ",self_transfer=true", DIRECT | {"pgd_through_mean_logits"}),
        ("mean_logits", "", DIRECT | {"pgd_through_mean_softmax"}),
        ("majority_vote", "", DIRECT | MEANS),
        ("crossmax", ",self_transfer=false", DIRECT),
        ("mean_softmax", ",aggregation=crossmax", DIRECT | MEANS),
        ("crossmax", ",aggregation=mean_softmax", DIRECT),
    ],
)
def test_which_means_are_attacked(
    images: tuple[Tensor, Tensor], aggregation: str, changes: str, expected: set[str]
) -> None:
    model = Ensemble([nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2)], aggregation).eval()
    assert set(attacked(model, images, f",steps=1{changes}")["attack"]) == expected


def test_members_that_are_no_classifiers_are_left_alone(images: tuple[Tensor, Tensor]) -> None:
    assert set(attacked(Features().eval(), images, ",steps=1")["attack"]) == DIRECT
    with pytest.raises(UserError, match="key 'self_transfer': expected a target whose `members` map images to scores"):
        attacked(Features().eval(), images, ",steps=1,self_transfer=true")


def test_the_gain_against_answers_at_random_is_one_of_expected_accuracy(images: tuple[Tensor, Tensor]) -> None:
    found = attacked(load_ensemble("digits/dverge-3").aggregated("random_member"), images)
    tried = found[(found["eps"] > 0) & found["correct"].notna()]
    tried = tried.assign(right=tried["correct"].astype(float) * tried["probability"])
    by_attempt = tried.groupby(["image", "attack", "restart"], observed=True)["right"].sum().reset_index()
    direct = by_attempt[by_attempt["attack"].isin(DIRECT)].groupby("image")["right"].min()
    left = by_attempt.groupby("image")["right"].min()
    gain = (direct - left).mean()
    assert gain > ((direct > 0) & (left == 0)).mean()
    (sign,) = [sign for sign in found.attrs["health"] if sign["sign"] == "self_transfer_gain"]
    assert sign["value"] == pytest.approx(gain)
