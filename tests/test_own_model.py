"""A model of one's own: from the command line and from Python, and every way in which it can be wrong."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustbench_ens
from robustbench_ens.data import load_dataset, select_images
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.own import as_found, sub_models
from robustbench_ens.outcomes import OUTCOMES, find_outcomes, read_outcomes
from robustbench_ens.protocols import load_protocol
from tests.conftest import BASELINE, BLACKBOX, WHITEBOX, Rbe

TRANSFER = "digits/transferability[eps=[0.2],images=60,restarts=1,steps=2]"
MODELS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList([Plain(), Plain()])

    def forward(self, x):
        return sum(member(x) for member in self.members)

class Changed(Plain):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x), x)

class Locked(Plain):
    def __deepcopy__(self, memo):
        raise RuntimeError("holds a lock")

def model(change):
    return lambda: Changed(change).eval()

instance = Plain().eval()
plain = lambda: Plain().eval()
many = lambda: Many().eval()
locked = lambda: Locked().eval()
number = 3

def returns_number():
    return 3

def needs_arguments(depth):
    return Plain()

def raises():
    raise RuntimeError("two\\nlines")

def exits():
    raise SystemExit("bye")

empty = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10, device="meta")).eval()

def complain(scores, x):
    raise ValueError("no such\\nthing")

class Unstacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = [Plain(), Plain()]

    def forward(self, x):
        return self.members[0](x)

convolution = lambda: nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten())
nan = model(lambda z, x: z * float("nan"))
wide = model(lambda z, x: torch.cat([z, z], 1))
flat = model(lambda z, x: z[:, 0])
squeezed = model(lambda z, x: z.squeeze(0))
integers = model(lambda z, x: z.argmax(1, keepdim=True) == torch.arange(10))
pair = model(lambda z, x: (z, z))
complaining = model(complain)
blind = model(lambda z, x: z.detach())
frozen = model(lambda z, x: torch.eye(10)[z.argmax(1)] + z.detach())
certain = model(lambda z, x: z.softmax(1))
raises_later = model(lambda z, x: z if len(x) <= 32 else complain(z, x))
none_later = model(lambda z, x: z if len(x) <= 32 else None)
blind_later = model(lambda z, x: z if len(x) <= 32 else z.detach())
nan_later = model(lambda z, x: z if len(x) <= 32 else z * float("nan"))
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_models", None)
    Path("my_models.py").write_text(MODELS)
    Path("script.py").write_text("import sys\nsys.exit(4)")


def small(seed: int = 0) -> nn.Module:
    """A single network, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).eval()


def test_images(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float images, labels and indices, as a protocol of seed 0 selects them."""
    digits = load_dataset("digits")
    indices = select_images(len(digits.y_test), count, 0)
    return digits.x_test[indices].float() / 255, digits.y_test[indices], indices


test_images.__test__ = False  # type: ignore[attr-defined]


def own_outcomes() -> pd.DataFrame:
    (path,) = find_outcomes([Path("runs/outcomes")])
    return read_outcomes(path).outcomes


# The command line


@pytest.mark.parametrize("name", ["instance", "Plain", "plain", "many", "locked"])
def test_a_module_a_class_or_a_function_is_attacked(rbe: Rbe, name: str) -> None:
    result = rbe("attack", WHITEBOX, "--model", f"my_models:{name}")
    assert (result.code, result.err) == (0, "")
    assert f"my_models:{name}" in result.out
    assert ("train mode" in result.out) == (name == "Plain")
    frame = own_outcomes()
    assert set(frame["target"]) == {f"my_models:{name}"}
    assert set(frame["aggregation"]) == {"own"}
    assert (frame["attack"] == "clean").sum() == 20
    (path,) = find_outcomes([Path("runs/outcomes")])
    target = read_outcomes(path).provenance["target"]
    assert (target["method"], target["dataset"], target["classes"]) == ("model", "digits", 10)
    assert target["sub_models"] == (2 if name == "many" else 1)
    report = rbe("report")
    assert (report.code, report.err) == (0, "")
    assert f"my_models:{name}" in report.out
    text = Path("runs/reports/report/report.md").read_text().replace("\\", "")
    assert f"--model my_models:{name}" in text


def test_it_is_done_once_and_again_when_weights_or_code_change(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("attack", WHITEBOX, "--model", "my_models:plain")
    assert rbe(*command).code == 0
    assert "0 of 1 steps due" in rbe(*command, "--dry-run").out
    for change in ("nn.Linear(64, 10)", "nn.Linear(64, 10, bias=False)"), ("x.flatten(1)", "2 * x.flatten(1)"):
        sys.modules.pop("my_models")
        changed = MODELS.replace(*change) + "# another length\n" * len(change[0])
        Path("my_models.py").write_text(changed)
        assert "1 of 1 steps due" in rbe(*command, "--dry-run").out, change
    assert len(find_outcomes([Path("runs/outcomes")])) == 1


def test_a_trained_ensemble_given_as_a_model_has_the_outcomes_of_its_recipe(rbe: Rbe, runs: Path) -> None:
    Path("loads.py").write_text(
        "import robustbench_ens\n"
        f"def build():\n    return robustbench_ens.load_ensemble({BASELINE!r}, runs={str(runs)!r})"
    )
    sys.modules.pop("loads", None)
    before = find_outcomes([runs / "outcomes"])
    for reference in (WHITEBOX, BLACKBOX):
        assert rbe("attack", reference, "--model", "loads:build", "--runs", runs).code == 0
        protocol = load_protocol(reference).hash
        files = [read_outcomes(path) for path in find_outcomes([runs / "outcomes"])]
        files = [file for file in files if file.provenance["protocol"]["hash"] == protocol]
        by_target = {file.provenance["target"]["id"]: file.outcomes for file in files}
        columns = [column for column in OUTCOMES.names if column not in ("target", "source")]
        pd.testing.assert_frame_equal(by_target["loads:build"][columns], by_target[f"{BASELINE}#0"][columns])
    assert set(before) < set(find_outcomes([runs / "outcomes"]))


def test_a_surrogate_of_the_same_weights_is_refused(rbe: Rbe, runs: Path) -> None:
    Path("same.py").write_text(
        "import robustbench_ens\n"
        f"def build():\n    return robustbench_ens.load_ensemble({BASELINE!r}, seed=1000, runs={str(runs)!r})"
    )
    sys.modules.pop("same", None)
    result = rbe("attack", BLACKBOX, "--model", "same:build", "--runs", runs)
    assert result.code == 2
    assert "expected a hold-out ensemble for target 'same:build', but both descend from the same weights" in result.err


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("my_models", "--model: expected package.module:Name, got 'my_models'"),
        (
            "nowhere.at_all:build",
            "cannot import 'nowhere.at_all:build': ModuleNotFoundError: No module named",
        ),
        ("my_models:none", "module 'my_models' has no 'none'"),
        (
            "my_models:number",
            "expected 'my_models:number' to be an nn.Module, or to return one when called",
        ),
        ("my_models:returns_number", "or to return one when called without arguments, got int"),
        ("my_models:needs_arguments", "got TypeError: needs_arguments() missing 1 required positional argument"),
        ("my_models:raises", "got RuntimeError: two lines"),
        ("my_models:exits", "or to return one when called without arguments, got SystemExit: bye"),
        ("script:build", "--model: cannot import 'script:build': SystemExit: 4"),
        ("my_models:empty", "works on every batch of images, got NotImplementedError: Cannot copy out of meta tensor"),
        ("json:dumps", "got TypeError: dumps() missing 1 required positional argument: 'obj'"),
        ("my_models:complaining", "torch.float32 images (1, 1, 8, 8) in [0, 1], got ValueError: no such thing"),
        (
            "my_models:convolution",
            "expected a model of torch.float32 images (1, 1, 8, 8) in [0, 1], got Runtime",
        ),
        ("my_models:nan", "expected scores that are numbers, got NaN for images in [0, 1]"),
        ("my_models:wide", "expected scores of shape (1, 10) for 1 images, got (1, 20)"),
        ("my_models:flat", "expected scores of shape (1, 10) for 1 images, got (1,)"),
        ("my_models:squeezed", "expected scores of shape (1, 10) for 1 images, got (10,)"),
        ("my_models:integers", "expected scores as floating-point numbers, got torch.bool"),
        ("my_models:pair", "expected a tensor of scores (B, classes), got tuple"),
        (
            "my_models:blind",
            "as this protocol follows their gradient, got scores without a gradient; is there a",
        ),
        ("my_models:frozen", "got scores without a gradient"),
        ("my_models:Unstacked", "Unstacked.members: expected an nn.ModuleList, got a list, which .eval() and .to() do"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(rbe: Rbe, model: str, says: str) -> None:
    result = rbe("attack", WHITEBOX, "--model", model)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("rbe: error: --model") or "Unstacked" in model
    assert says in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("raises_later", "works on every batch of images, got ValueError: no such thing ("),
        ("none_later", "got AttributeError: 'NoneType' object has no attribute "),
        ("blind_later", "got RuntimeError: element 0 of tensors does not require grad"),
        ("nan_later", "my_models:nan_later: the model returns NaN for images in [0, 1]"),
    ],
)
def test_a_model_that_fails_in_the_middle_of_an_attack(rbe: Rbe, model: str, says: str) -> None:
    result = rbe("attack", WHITEBOX, "--set", "images=40", "--model", f"my_models:{model}")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert says in result.err
    assert not find_outcomes([Path("runs")])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("digits/blackbox-same-defense", "--model", "my_models:plain"),
            "key 'surrogates': expected as target a recipe, whose method completes the name 'digits/{method}-3', got",
        ),
        ((WHITEBOX, BASELINE, "--model", "my_models:plain"), "--model: expected no recipe beside it, got digits/bas"),
        ((WHITEBOX, "--model", "my_models:plain", "--seeds", "0,1"), "--seeds: expected none beside --model"),
        (
            (TRANSFER, "--model", "my_models:plain"),
            "expected a target with sub-models, as its `members`, for 'transferability', got the single network",
        ),
        (
            (f"{WHITEBOX[:-1]},aggregation=mean_logits]", "--model", "my_models:many"),
            "key 'aggregation': expected an Ensemble for 'mean_logits', got 'my_models:many', which aggregates",
        ),
    ],
)
def test_what_a_model_does_not_go_with(rbe: Rbe, arguments: tuple[str, ...], says: str) -> None:
    result = rbe("attack", *arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert says in result.err
    assert not Path("runs").exists()


def test_a_target_without_a_gradient_under_transfer(rbe: Rbe, runs: Path) -> None:
    """Nothing is crafted on it."""
    result = rbe("attack", BLACKBOX, "--model", "my_models:blind", "--runs", runs)
    assert (result.code, result.err) == (0, "")


def test_probabilities_are_warned_of(rbe: Rbe) -> None:
    result = rbe("attack", WHITEBOX, "--model", "my_models:certain")
    assert result.code == 0
    assert "warning: --model my_models:certain: the model returns probabilities, on which attacks" in result.out


# From Python


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
        ({"images": IMAGES * 255}, "images: expected pixels in [0, 1], or uint8, got ["),
        ({"images": IMAGES * np.nan}, "images: expected pixels in [0, 1], or uint8, got [nan, nan]"),
        ({"images": LABELS.view(5, 1, 1, 1)}, "images: expected float images in [0, 1], or uint8, got torch.int64"),
        ({"images": torch.rand(5, 3, 8, 8)}, "model: expected a model of torch.float32 images (1, 3, 8, 8) in [0, 1]"),
        ({"images": IMAGES.double()}, "model: expected a model of torch.float64 images"),
        ({"images": None}, "images: expected a tensor or an array, got NoneType"),
        ({"labels": ["a"] * 5}, "labels: expected a tensor or an array, got list"),
        ({"device": None}, "device: expected cpu, cuda or cuda:N that is there, got None"),
        ({"device": "meta"}, "device: expected cpu, cuda or cuda:N that is there, got 'meta'"),
        ({"labels": LABELS[:4]}, "labels: expected 5 integers, one for each image, got torch.int64 of shape (4,)"),
        ({"labels": LABELS.float()}, "labels: expected 5 integers, one for each image, got torch.float32"),
        ({"labels": LABELS - 1}, "labels: expected integers from 0, got -1"),
        ({"labels": LABELS + 6}, "labels: expected integers below 10, the model's classes, got 10"),
        ({"indices": [0, 1, 2, 3, 3]}, "indices: expected 5 different integers"),
        ({"indices": [0, 1]}, "indices: expected 5 integers"),
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


def test_modes_come_back_after_an_error() -> None:
    model = small().train()
    with pytest.raises(UserError), as_found(model):
        model.eval()
        raise UserError("x")
    assert all(module.training for module in model.modules())


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, robustbench_ens; robustbench_ens.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
