"""`robustbench_ens.evaluate`: a model of one's own from Python, and every way in which it can be wrong."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.restore import as_found
from robustbench_ens.outcomes import OUTCOMES, find_outcomes, read_outcomes
from tests.conftest import BASELINE, BLACKBOX, WHITEBOX
from tests.own_model.tools import TRANSFER, small, test_images


@pytest.mark.slow
@pytest.mark.parametrize("reference", [WHITEBOX, BLACKBOX])
def test_python_gives_the_outcomes_of_the_command_line(runs: Path, reference: str) -> None:
    ensemble = robustbench_ens.load_ensemble(BASELINE, runs=runs)
    images, labels, indices = test_images(20)
    surrogates = [robustbench_ens.load_ensemble(BASELINE, seed=1000, runs=runs)] if reference == BLACKBOX else []
    frame = robustbench_ens.evaluate(
        ensemble, images, labels, reference, surrogates=surrogates, indices=indices, name=f"{BASELINE}#0"
    )
    hash_ = load_protocol(reference).hash
    files = [read_outcomes(path) for path in find_outcomes([runs / "outcomes"])]
    (expected,) = [
        file.outcomes
        for file in files
        if (file.provenance["protocol"]["hash"], file.provenance["target"]["id"]) == (hash_, f"{BASELINE}#0")
    ]
    columns = [column for column in OUTCOMES.names if column != "source" or not surrogates]
    assert list(frame.columns) == OUTCOMES.names
    pd.testing.assert_frame_equal(frame[columns], expected[columns])


def test_nothing_is_written_and_nothing_is_changed(tmp_path: Path) -> None:
    model = small()
    model[2].train()
    model[1].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    files = sorted(tmp_path.rglob("*"))
    images, labels, _ = test_images(30)
    kept = images.clone()
    with pytest.warns(UserWarning, match="mine: the model is in train mode; it is evaluated in eval mode"):
        frame = robustbench_ens.evaluate(model, images, labels, WHITEBOX, name="mine")
    assert sorted(tmp_path.rglob("*")) == files
    assert torch.equal(images, kept)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model] == [False, False, True, False, False]
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(frame["target"]) == {"mine"}
    assert set(frame["image"]) == set(range(30))  # all of them, although the protocol asks for 20


def test_a_model_in_train_mode_is_scored_in_eval_mode() -> None:
    model, (images, labels, _) = small(), test_images(25)
    expected = robustbench_ens.evaluate(model, images, labels, WHITEBOX)
    with pytest.warns(UserWarning, match="train mode"):
        found = robustbench_ens.evaluate(model.train(), images, labels, WHITEBOX)
    assert model.training
    pd.testing.assert_frame_equal(found, expected)


def test_what_counts_as_images_and_labels() -> None:
    model, (images, labels, _) = small(), test_images(10)
    expected = robustbench_ens.evaluate(model, images, labels, load_protocol(WHITEBOX))
    whole = (images * 255).round().to(torch.uint8)
    for given in ((whole, labels.int()), (whole.numpy(), labels.numpy()), (images.numpy(), labels.tolist())):
        pd.testing.assert_frame_equal(robustbench_ens.evaluate(model, *given, WHITEBOX), expected)


def test_a_model_that_cannot_be_copied_has_the_same_outcomes() -> None:
    class Locked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small()

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.network(x)
            return scores

        def __deepcopy__(self, memo: Any) -> Locked:
            raise RuntimeError("holds a lock")

    images, labels, _ = test_images(25)
    model = Locked()
    found = robustbench_ens.evaluate(model.eval(), images, labels, WHITEBOX)
    pd.testing.assert_frame_equal(found, robustbench_ens.evaluate(small(), images, labels, WHITEBOX))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_members_are_the_sub_models() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList([small(0), small(1)])

        def forward(self, x: Tensor) -> Tensor:
            return self.members[0](x) + self.members[1](x)

    images, _, _ = test_images(80)
    ensemble = Sum().eval()
    labels = small(0)(images).argmax(dim=1)
    frame = robustbench_ens.evaluate(ensemble, images, labels, TRANSFER)
    attacked = frame[frame["attack"] != "clean"]
    assert set(attacked["source_member"]) == {0, 1}
    assert set(attacked["target_member"]) == {-1, 0, 1}
    assert sub_models(Ensemble([small()]))
    assert not sub_models(small())


@pytest.mark.slow
def test_an_ensemble_under_each_aggregation() -> None:
    images, labels, _ = test_images(25)
    ensemble = Ensemble([small(seed) for seed in range(3)]).eval()
    for aggregation in ("mean_softmax", "mean_logits", "majority_vote"):
        protocol = f"{WHITEBOX[:-1]},loss=cw,aggregation={aggregation}]"
        frame = robustbench_ens.evaluate(ensemble, images, labels, protocol)
        assert set(frame["aggregation"]) == {aggregation}
        again = robustbench_ens.evaluate(ensemble.aggregated(aggregation), images, labels, protocol)
        pd.testing.assert_frame_equal(again, frame)


IMAGES, LABELS = torch.rand(5, 1, 8, 8), torch.arange(5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": len}, "model: expected an nn.Module, got builtin_function_or_method"),
        ({"images": IMAGES[0]}, "images: expected at least one image, (N, C, H, W), got shape (1, 8, 8)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images: expected at least one image"),
        ({"images": IMAGES * 255}, "images: expected float images in [0, 1], got "),
        ({"images": IMAGES * np.nan}, "images: expected finite pixels, got nan in image 0 at (0, 0, 0)"),
        ({"images": LABELS.view(5, 1, 1, 1)}, "images: expected uint8 images, or float ones in [0, 1], got int64 from"),
        ({"images": torch.rand(5, 3, 8, 8)}, "model: expected a model of torch.float32 images (1, 3, 8, 8) in [0, 1]"),
        ({"images": None}, "images: expected a tensor or an array, got NoneType"),
        ({"labels": ["a"] * 5}, "labels: expected a tensor or an array, got list"),
        ({"device": None}, "device: expected cpu, cuda or cuda:N that is there, got None"),
        ({"device": "meta"}, "device: expected cpu, cuda or cuda:N that is there, got 'meta'"),
        ({"labels": LABELS[:4]}, "labels: expected 5 integers, one for each image, got int64 of shape (4,)"),
        ({"labels": LABELS.float()}, "labels: expected 5 integers, one for each image, got float32"),
        ({"labels": LABELS - 1}, "labels: expected integers from 0 to 2147483647, got -1"),
        ({"labels": LABELS + 6}, "labels: expected integers below 10, the model's classes, got 10"),
        ({"indices": [0, 1, 2, 3, 3]}, "indices: expected 5 different integers"),
        ({"indices": [0, 1]}, "indices: expected 5 integers"),
        (
            {"protocol": f"{WHITEBOX[:-1]},test_half=report]"},
            "indices: expected places of test images in the report half",
        ),
        (
            {"protocol": "digits/whitbox"},
            "unknown protocol 'digits/whitbox': expected a path to a .toml file or a",
        ),
        ({"protocol": TRANSFER}, "for 'transferability', got the single network 'model'"),
        ({"protocol": BLACKBOX}, "surrogates: expected 1 modules, as protocol 'digits/blackbox-compact["),
        ({"protocol": BLACKBOX}, f"got 0 in place of {BASELINE} with seed 1000; `load_ensemble` gives those that are"),
        ({"surrogates": [small(1)]}, "surrogates: expected 0 modules, as protocol 'digits/whitebox["),
        ({"protocol": BLACKBOX, "surrogates": [3]}, "surrogates[0]: expected an nn.Module, got int"),
        ({"protocol": BLACKBOX, "surrogates": None}, "surrogates: expected a list of nn.Modules, got NoneType"),
        ({"name": None}, "name: expected text, got NoneType"),
        (
            {"protocol": BLACKBOX, "surrogates": [small()]},
            "hold-out ensemble for target 'model', but both descend",
        ),
        (
            {"protocol": BLACKBOX, "surrogates": [nn.Sequential(nn.Flatten(), nn.Linear(64, 7))]},
            "surrogate 0: expected scores of shape (1, 10) for 1 images, got (1, 7)",
        ),
        ({"device": "gpu"}, "device: expected cpu, cuda or cuda:N that is there, got 'gpu'"),
    ],
)
def test_what_python_refuses(changes: dict[str, Any], says: str) -> None:
    arguments = {"model": small(), "images": IMAGES, "labels": LABELS, "protocol": WHITEBOX} | changes
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        robustbench_ens.evaluate(**arguments)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_scores_that_change_are_warned_of() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10] + torch.rand(len(x), 10)

    with pytest.warns(UserWarning, match="scores change from one pass to the next; every number is one draw"):
        robustbench_ens.evaluate(Noisy().eval(), IMAGES, LABELS, WHITEBOX)


def test_convolutions_that_torch_computes_outside_its_memory_are_warned_of() -> None:
    model = nn.Sequential(nn.Conv2d(1, 10, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.warns(
        UserWarning, match="^mine: 1x1 convolutions with a stride and fewer than 8 input channels in '0'; "
    ):
        robustbench_ens.evaluate(model, IMAGES, LABELS, WHITEBOX, name="mine")


HEALTHY = "digits/whitebox[eps=[0.1],steps=20,restarts=1,health.images=0]"
"""Steps enough to be healthy on a sound model."""


class Rounded(nn.Module):
    """Rounds its pixels to 8 bits: the gradient is zero everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network((x * 255).round() / 255)
        return scores


def test_a_healthy_result_says_so() -> None:
    images, _, _ = test_images(25)
    model = small()
    labels = model(images).argmax(dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = robustbench_ens.evaluate(model, images, labels, HEALTHY, name="mine")
    about = frame.attrs
    protocol = load_protocol(HEALTHY)
    assert (about["protocol"], about["protocol_hash"]) == (protocol.label, protocol.hash)
    assert about["warnings"] == []
    assert {entry["sign"] for entry in about["health"]} >= {"zero_gradient", "saturated", "loss_rising", "budget_kept"}
    assert all(entry["healthy"] for entry in about["health"])
    assert {(entry["attack"], entry["loss"], entry["eps"]) for entry in about["health"]} == {
        ("pgd", "cross_entropy", 0.1)
    }


def test_masked_gradients_are_warned_of_and_stand_in_the_result(tmp_path: Path) -> None:
    images, labels, _ = test_images(25)
    with pytest.warns(UserWarning, match="mine: ") as caught:
        frame = robustbench_ens.evaluate(Rounded().eval(), images, labels, HEALTHY, name="mine")
    assert [warning.filename for warning in caught] == [__file__] * 2
    remark, unhealthy = (warning.message for warning in caught)
    assert "mine: the gradient of cross-entropy is zero or not finite on 25 of 25 images" in str(remark)
    assert isinstance(unhealthy, robustbench_ens.UnhealthyAttackWarning)
    assert str(unhealthy).startswith("mine: attack pgd with cross_entropy under digits/whitebox[")
    for sign in ("zero gradient 100.0% (limit 5.0%; eps 0.1, step 0)", "loss rose 0.0% (limit 90.0%; eps 0.1)"):
        assert sign in str(unhealthy)
    assert frame.attrs["warnings"] == [str(remark), str(unhealthy)]
    sick = {entry["sign"]: entry for entry in frame.attrs["health"] if not entry["healthy"]}
    assert set(sick) == {"zero_gradient", "loss_rising"}
    assert (sick["zero_gradient"]["value"], sick["zero_gradient"]["limit"]) == (1.0, 0.05)
    with pytest.raises(robustbench_ens.UnhealthyAttackWarning), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", robustbench_ens.UnhealthyAttackWarning)
        robustbench_ens.evaluate(Rounded().eval(), images, labels, HEALTHY)


def test_what_the_result_says_of_itself_lives_through_pandas(tmp_path: Path) -> None:
    """Plain JSON values: they are compared, copied, written into Parquet and pickled."""
    images, labels, _ = test_images(12)
    first, second = (robustbench_ens.evaluate(small(), images, labels, WHITEBOX) for _ in range(2))
    assert first.attrs == second.attrs == json.loads(json.dumps(first.attrs))
    assert first.attrs["health"]
    assert pd.concat([first, second]).attrs == first.attrs
    assert first[first["eps"] > 0].attrs == first.attrs
    first.to_parquet(tmp_path / "frame.parquet")
    assert pd.read_parquet(tmp_path / "frame.parquet").attrs == first.attrs
    assert pickle.loads(pickle.dumps(first)).attrs == first.attrs


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol",
    [
        TRANSFER,
        "digits/whitebox-convergence[eps=[0.1],images=20,steps=[1,2]]",
        "digits/diversity[eps=[0.1],images=20,steps=1]",
        "digits/distillation[eps=[0.1],images=20,steps=1]",
    ],
)
def test_results_of_every_kind_carry_what_they_have(protocol: str) -> None:
    images, _, _ = test_images(20)
    recipe = load_recipe("digits/baseline-3[network_args.width=2,sub_models=2]")
    ensemble = build_ensemble(recipe, 0, channels=1, classes=10, mean=torch.zeros(1), std=torch.ones(1)).eval()
    one, other = ensemble.members
    other.load_state_dict(one.state_dict())  # so that there are images that both get right
    labels = ensemble(images).argmax(dim=1)
    frame = robustbench_ens.evaluate(ensemble, images, labels, protocol)
    assert frame.attrs["protocol_hash"] == load_protocol(protocol).hash
    crafts = not protocol.startswith(("digits/diversity", "digits/distillation"))
    assert bool(frame.attrs["health"]) == crafts


def test_a_model_that_errs_on_clean_images_only_is_not_robust() -> None:
    class Odd(nn.Module):
        """Wrong on images of 8 bits, right beside them."""

        def __init__(self) -> None:
            super().__init__()
            self.network = small()

        def forward(self, x: Tensor) -> Tensor:
            clean = ((x * 255).round() / 255 == x).flatten(1).all(dim=1, keepdim=True)
            scores: Tensor = self.network(x)
            return torch.where(clean, -scores, scores)

    images, _, _ = test_images(25)
    labels = small()(images).argmax(dim=1)
    frame = robustbench_ens.evaluate(Odd().eval(), images, labels, WHITEBOX)
    assert not frame.loc[frame["attack"] == "clean", "correct"].any()
    assert frame.loc[frame["attack"] != "clean", "correct"].any()
    robust = frame.groupby("image")["correct"].apply(lambda tries: tries.dropna().all())
    assert not robust.any()


def test_modes_come_back_after_an_error() -> None:
    model = small().train()
    with pytest.raises(UserError), as_found(model):
        model.eval()
        raise UserError("x")
    assert all(module.training for module in model.modules())
