"""Which weights serve, for commands and for Python alike, and that the result says which they are."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import robustbench_ens
from robustbench_ens import load_ensemble
from robustbench_ens.config.lookup import shipped_folder
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.outcomes import find_outcomes, read_provenance
from robustbench_ens.weights.record import run_dir
from robustbench_ens.weights.trained import digest_state
from tests.conftest import BASELINE, WHITEBOX, Rbe

RECIPE = "digits/single"
"""Its weights are published."""

PUBLISHED = shipped_folder("zoo") / "weights" / RECIPE


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mine(rbe: Rbe, tmp_path: Path) -> Path:
    """A run directory with other weights of ``RECIPE``: published ones of a recipe with the same network, imported."""
    assert rbe("export-checkpoint", "digits/single-advt", "one.pth").code == 0
    assert rbe("import-checkpoint", "one.pth", RECIPE, "--runs", "mine").code == 0
    return tmp_path / "mine"


def exported(rbe: Rbe, *arguments: object) -> str:
    """Where `rbe export-checkpoint` takes the weights from, as it says."""
    result = rbe("export-checkpoint", RECIPE, "x.pth", *arguments)
    assert result.code == 0
    return result.out.rstrip("\n)").partition(" (")[2]


def test_a_published_ensemble_says_so(rbe: Rbe) -> None:
    ensemble = load_ensemble(RECIPE)
    assert ensemble.origin == ("published", PUBLISHED / "seed-0")
    assert exported(rbe) == f"published, {PUBLISHED / 'seed-0'}"
    assert ensemble.record is not None
    assert ensemble.record.weights == digest_state(ensemble.state_dict())


@pytest.mark.parametrize(
    "way", ["the variable", "the argument", "the default", "~ in the variable", "~ in the argument"]
)
def test_python_takes_the_weights_that_commands_take(
    way: str, mine: Path, rbe: Rbe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    runs = f"~/{mine.name}" if "~" in way else str(mine)
    option = ["--runs", runs] if "argument" in way else []
    if "variable" in way:
        monkeypatch.setenv("RBE_RUNS", runs)
    if "default" in way:
        monkeypatch.setenv("RBE_RUNS", "")
        mine.rename("runs")
    ensemble = load_ensemble(RECIPE, runs=runs if option else None)
    assert ensemble.origin is not None
    assert ensemble.origin.kind == "imported"
    folder = run_dir(Store(Path("runs") if "default" in way else mine), load_recipe(RECIPE), 0)
    assert ensemble.origin.folder == folder
    assert exported(rbe, *option) == str(ensemble.origin)
    assert not Path("~").exists()


def test_the_argument_wins(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBE_RUNS", str(mine))
    origin = load_ensemble(RECIPE, runs="elsewhere").origin
    assert origin is not None
    assert origin.kind == "published"


@pytest.mark.parametrize("runs", ["file", "~nobody-here/x"])
def test_a_run_directory_that_cannot_be_one_is_one_line(runs: str, rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    for where, option in (("--runs", ["--runs", runs]), ("RBE_RUNS", [])):
        if not option:
            monkeypatch.setenv("RBE_RUNS", runs)
        result = rbe("list", *option)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert result.err.startswith(f"rbe: error: {where}: expected a ")
        with pytest.raises(UserError, match="expected a "):
            load_ensemble(RECIPE, runs=runs if option else None)


HALF_TRAINED = {"a state to resume from": "resume.pt", "weights without their record": "weights.safetensors"}


@pytest.mark.slow
@pytest.mark.parametrize("left", HALF_TRAINED.values(), ids=HALF_TRAINED)
def test_a_training_that_was_begun_is_not_passed_by_in_silence(left: str, rbe: Rbe) -> None:
    folder = run_dir(Store(Path("runs")), load_recipe(RECIPE), 0)
    folder.mkdir(parents=True)
    (folder / left).touch()
    expected = f"published weights, from {PUBLISHED / 'seed-0'}, for the training in {folder} is not finished"
    with pytest.warns(UserWarning, match=expected):
        load_ensemble(RECIPE)
    assert expected in rbe("export-checkpoint", RECIPE, "x.pth").err
    result = rbe("attack", "digits/whitebox[images=5,eps=[0.1],steps=1,restarts=1,health.images=0]", RECIPE)
    assert result.code == 0
    assert expected in result.out
    assert (folder / left).exists()  # `rbe train` goes on from there


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the record": lambda folder: (folder / "run.json").write_text("{"),
    "the weights": lambda folder: (folder / "weights.safetensors").write_bytes(b"x"),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_weights_are_never_replaced_by_published_ones(
    damage: Callable[[Path], object], mine: Path, rbe: Rbe
) -> None:
    damage(run_dir(Store(mine), load_recipe(RECIPE), 0))
    with pytest.raises(UserError, match=str(mine)):
        load_ensemble(RECIPE, runs=mine)
    for command in (
        ["export-checkpoint", RECIPE, "x.pth"],
        ["attack", WHITEBOX, RECIPE, "--dry-run"],
        ["plan", RECIPE],
    ):
        result = rbe(*command, "--runs", mine)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert str(mine) in result.err


WAYS: dict[str, Callable[[Ensemble], object]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda ensemble: pickle.loads(pickle.dumps(ensemble)),
    "torch.save": lambda ensemble: torch.load(saved(ensemble), weights_only=False),
    "another aggregation": lambda ensemble: ensemble.aggregated("mean_logits"),
    "torch.compile": lambda ensemble: torch.compile(ensemble, backend="eager"),
    "another device": lambda ensemble: ensemble.to("cpu"),
}


def saved(ensemble: Ensemble) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(ensemble, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_copies_keep_it(way: Callable[[Ensemble], Ensemble]) -> None:
    ensemble = load_ensemble(RECIPE)
    same = way(ensemble)
    assert same.origin == ensemble.origin
    assert same.record == ensemble.record


def test_it_is_no_part_of_the_state() -> None:
    ensemble = load_ensemble(RECIPE)
    plain = Ensemble(ensemble.members)
    assert list(ensemble.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(ensemble.state_dict())
    assert plain.origin is None


@pytest.mark.slow
def test_it_is_exported_and_traced_as_before() -> None:
    ensemble = load_ensemble(RECIPE)
    images = torch.rand(2, 1, 8, 8)
    expected = ensemble(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.export.export(ensemble, (images,)).module()(images)
        traced = torch.jit.trace(ensemble, images)(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(traced, expected)


SMALL = "digits/whitebox[eps=[0.1],steps=1,restarts=1,health.images=0]"


@pytest.mark.slow
def test_evaluate_says_which_weights_were_attacked() -> None:
    images = torch.rand(4, 1, 8, 8)
    labels = torch.arange(4)

    def facts(model: torch.nn.Module) -> dict[str, str]:
        return robustbench_ens.evaluate(model, images, labels, SMALL, name="mine").attrs["weights"]["mine"]

    ensemble = load_ensemble(RECIPE)
    assert ensemble.record is not None
    expected = {
        "origin": "published",
        "id": f"{RECIPE}#0",
        "recipe_hash": ensemble.record.recipe_hash,
        "weights": ensemble.record.weights,
        "folder": str(PUBLISHED / "seed-0"),
    }
    assert facts(ensemble) == expected
    with torch.no_grad():
        next(ensemble.parameters()).add_(1e-3)
    assert facts(ensemble) == expected | {"origin": "published, changed since"}
    assert facts(Ensemble(ensemble.members).eval()) == {"origin": "given"}


def test_evaluate_says_it_of_surrogates_too(tiny_runs: Path) -> None:
    protocol = 'digits/blackbox-compact[eps=[0.1],steps=1,variants=[{attack="sgm"}],health.images=0]'
    images = torch.rand(4, 1, 8, 8)
    own = load_ensemble(BASELINE, runs=tiny_runs)
    frame = robustbench_ens.evaluate(
        own, images, torch.arange(4), protocol, surrogates=[load_ensemble(RECIPE)], name="mine"
    )
    found = {name: facts["origin"] for name, facts in frame.attrs["weights"].items()}
    assert found == {"mine": "trained here", "surrogate 0": "published"}


@pytest.mark.slow
def test_outcomes_say_it(mine: Path, rbe: Rbe) -> None:
    for runs, expected in ((mine, "imported"), (Path("runs"), "published")):
        assert rbe("attack", f"{SMALL[:-1]},images=5]", RECIPE, "--runs", runs).code == 0
        (path,) = find_outcomes([runs / "outcomes"])
        assert read_provenance(path)["origins"] == {"target": expected, "sources": []}


def test_outcomes_of_what_was_trained_say_it(tiny_runs: Path) -> None:
    for path in find_outcomes([tiny_runs / "outcomes"]):
        provenance = read_provenance(path)
        sources = ["trained here"] * len(provenance["sources"])
        assert provenance["origins"] == {"target": "trained here", "sources": sources}
