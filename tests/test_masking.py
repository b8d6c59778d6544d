"""Defences that only mask their gradient: each of five families is flagged, and beaten by what the suite has by name.

Each is a small external model around a published ensemble, without ``members``: nothing but its scores can be attacked.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustbench_ens import evaluate, load_ensemble
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError

COUNT = 20
STANDARD = "eps=[0.2],health.images=0"
DIRECT = f"digits/whitebox[{STANDARD},steps=20,restarts=1]"
RESTARTED = DIRECT.replace("restarts=1", "restarts=5")
SQUARE = f"digits/whitebox[{STANDARD},steps=200,restarts=1,attack=square]"
TRANSFER = f"digits/blackbox-compact[{STANDARD},steps=20]"


class Behind(nn.Module):
    """A defence in front of, or behind, a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Quantised(Behind):
    """Pixels rounded to eight levels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 7).round() / 7)


class Saturated(Behind):
    """Logits whose softmax is exactly 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * 1e4


class Noisy(Behind):
    """Answers at random: noise that each pass draws anew."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + 0.1 * torch.randn_like(x))


class Jpeg(Behind):
    """Images whose cosine coefficients are rounded outside of autograd, as a decoder does it."""

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(8).to(x)
        basis = torch.cos(math.pi / 8 * (place + 0.5) * place.unsqueeze(1)) / 2
        basis[0] /= math.sqrt(2)
        with torch.no_grad():
            x = (basis.T @ ((10 * (basis @ x @ basis.T)).round() / 10) @ basis).clamp(0, 1)
        return self.model(x)


class Attacked(NamedTuple):
    """The share of images that survived an attack, and what was printed of it."""

    accuracy: float
    warnings: str


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    digits = load_dataset("digits")
    return digits.x_test[:COUNT].float() / 255, digits.y_test[:COUNT]


@pytest.fixture(scope="module")
def ensemble() -> nn.Module:
    return load_ensemble("digits/baseline-3")


def attacked(model: nn.Module, images: tuple[Tensor, Tensor], protocol: str) -> Attacked:
    surrogates = [load_ensemble("digits/gal-3")] if protocol == TRANSFER else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: pd.DataFrame = evaluate(model, *images, protocol, surrogates=surrogates)
    tried = found[found["correct"].notna()]
    return Attacked(float(tried.groupby("image")["correct"].all().mean()), " ".join(found.attrs["warnings"]))


@pytest.mark.parametrize(
    ("defence", "remark", "step", "protocol"),
    [
        (Quantised, "the gradient of cross-entropy is zero", "try next: attack=square, a black-box", SQUARE),
        (Quantised, "the gradient of cross-entropy is zero", "try next: attack=square, a black-box", TRANSFER),
        (Saturated, "cross-entropy is exactly 0", "try next: loss=cw", f"{DIRECT[:-1]},loss=cw]"),
        (
            Noisy,
            "scores change from one pass to the next",
            "use more restarts",
            RESTARTED,
        ),
    ],
)
def test_it_is_flagged_and_beaten_by_the_next_step(
    images: tuple[Tensor, Tensor], ensemble: nn.Module, defence: type[Behind], remark: str, step: str, protocol: str
) -> None:
    model = defence(ensemble).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        direct = attacked(model, images, DIRECT)
        assert remark in direct.warnings
        assert step in direct.warnings
        found = attacked(model, images, protocol)
    assert found.accuracy <= 0.5
    if defence is not Noisy:
        assert direct.accuracy > 0.8


@pytest.mark.parametrize("protocol", [SQUARE, TRANSFER])
def test_what_has_no_gradient_is_refused_and_beaten_without_one(
    images: tuple[Tensor, Tensor], ensemble: nn.Module, protocol: str
) -> None:
    model = Jpeg(ensemble).eval()
    with pytest.raises(UserError, match="expected scores that can be differentiated .* use attack=square or a"):
        attacked(model, images, DIRECT)
    assert attacked(model, images, protocol).accuracy <= 0.5


def test_crossmax_is_flagged_and_beaten_by_the_white_box_protocol(images: tuple[Tensor, Tensor]) -> None:
    found = attacked(load_ensemble("digits/crossmax-3"), images, DIRECT)
    assert "accuracy lost to self-transfer" in found.warnings
    assert found.accuracy <= 0.1


@pytest.mark.parametrize("name", ["baseline-3", "dverge-3", "gal-3", "advt-3"])
def test_a_healthy_ensemble_is_not_flagged(images: tuple[Tensor, Tensor], name: str) -> None:
    assert attacked(load_ensemble(f"digits/{name}"), images, DIRECT).warnings == ""
