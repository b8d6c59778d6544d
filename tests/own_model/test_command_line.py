"""`rbe attack --model`: a model of one's own from the command line, and every way in which it can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.outcomes import OUTCOMES, find_outcomes, read_outcomes
from tests.conftest import BASELINE, BLACKBOX, WHITEBOX, Rbe
from tests.own_model.conftest import MODELS
from tests.own_model.tools import TRANSFER
from tests.pages import pages_text


def own_outcomes() -> pd.DataFrame:
    (path,) = find_outcomes([Path("runs/outcomes")])
    return read_outcomes(path).outcomes


# The command line


@pytest.mark.slow
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
    text = pages_text(Path("runs/reports/report")).replace("\\", "")
    assert f"--model my_models:{name}" in text


@pytest.mark.slow
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


@pytest.mark.slow
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
        ("my_models:none", "my_models.py) has no 'none'"),
        (
            "my_models:number",
            "expected 'my_models:number' to be an nn.Module, or to return one when called",
        ),
        ("my_models:returns_number", "or to return one when called without arguments, got int"),
        ("my_models:needs_arguments", "got TypeError: needs_arguments() missing 1 required positional argument"),
        ("my_models:raises", "got RuntimeError: two lines"),
        ("my_models:exits", "or to return one when called without arguments, got SystemExit: bye"),
        ("script:build", "script.py): SystemExit: 4"),
        ("my_models:empty", "my_models:empty: expected weights, got '1.weight' on the device 'meta', which holds"),
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
    # Of 80 images, 40 go together: these models fail where there are more than they were shown.
    result = rbe("attack", WHITEBOX, "--set", "images=80", "--model", f"my_models:{model}", "--threads", 1)
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


@pytest.mark.parametrize(
    ("model", "remark"),
    [
        ("rounded", "the gradient of cross-entropy is zero or not finite on 32 of 32 images"),
        ("coupled", "with the other images of its batch"),
    ],
)
def test_what_makes_numbers_mean_less_is_warned_of_before_and_after(rbe: Rbe, model: str, remark: str) -> None:
    result = rbe("attack", WHITEBOX, "--model", f"my_models:{model}")
    assert (result.code, result.err) == (0, "")
    (before,) = (line for line in result.out.splitlines() if line.startswith("warning: "))
    assert before.startswith(f"warning: --model my_models:{model}: ") and remark in before
    after = [line for line in result.out.splitlines() if line.startswith("Warning: ")]
    assert len(after) == (model == "rounded")
    assert all("against my_models:rounded (seed 0) is unhealthy" in line and "zero gradient" in line for line in after)


def test_convolutions_that_torch_computes_outside_its_memory_are_warned_of(rbe: Rbe) -> None:
    result = rbe("attack", WHITEBOX, "--model", "my_models:narrow")
    assert (result.code, result.err) == (0, "")
    warning = (
        "warning: --model my_models:narrow: 1x1 convolutions with a stride and fewer than 8 input channels in '0'; "
    )
    assert result.out.count(warning) == 1


# From Python
