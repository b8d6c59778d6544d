"""Protocols that attack images of another dataset than the one that the ensembles were trained on (``trained_on``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset, to_float
from robustbench_ens.models.predict import predict
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile, find_outcomes, read_outcomes
from robustbench_ens.reporting.collect import collect
from robustbench_ens.weights.record import run_dir
from robustbench_ens.weights.trained import load_trained
from tests.conftest import BASELINE, BLACKBOX, WHITEBOX, Rbe

N_IMAGES = 60
DARK = ["--set", "dataset=dark", "--set", "trained_on=digits"]


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with ``dark``, some test digits at 0.7 of their brightness, and ``two``, the same in two classes."""
    digits = load_dataset("digits")
    images, labels = (digits.x_test[:N_IMAGES].numpy() * 0.7).astype(np.uint8), digits.y_test[:N_IMAGES].numpy()
    for name, y in (("dark", labels), ("two", labels % 2)):
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=y, x_test=images, y_test=y)
    monkeypatch.setenv("RBE_DATA", str(tmp_path))
    return tmp_path


def _outcomes(runs: Path) -> list[OutcomeFile]:
    return [read_outcomes(path) for path in find_outcomes([runs / "outcomes"])]


@pytest.mark.slow
def test_images_of_another_dataset_are_attacked(rbe: Rbe, runs: Path, data_root: Path) -> None:
    before = len(_outcomes(runs))
    result = rbe("attack", WHITEBOX, BLACKBOX, BASELINE, "--runs", runs, *DARK)
    assert (result.code, result.err) == (0, "")
    assert "train " not in result.out
    again = rbe("attack", WHITEBOX, BLACKBOX, BASELINE, "--runs", runs, "--dry-run", *DARK)
    assert "0 of 4 steps due" in again.out

    files = _outcomes(runs)
    dark = [file for file in files if file.provenance["target"]["dataset"] == "dark"]
    assert len(files) == before + 2 and {file.provenance["protocol"]["kind"] for file in dark} == {
        "whitebox",
        "blackbox",
    }
    dataset, recipe = load_dataset("dark"), load_recipe(BASELINE)
    ensemble, record = load_trained(run_dir(Store(runs), recipe, 0), recipe)
    right = predict(ensemble, to_float(dataset.x_test), torch.device("cpu")) == dataset.y_test
    for file in dark:
        target = file.provenance["target"]
        assert (target["id"], target["weights"]) == (f"{BASELINE}#0", record.weights)
        assert target["data_digest"] == dataset.digest != record.data_digest
        clean = file.outcomes[(file.outcomes["attack"] == "clean") & (file.outcomes["target_member"] == ENSEMBLE)]
        assert clean["correct"].tolist() == right.numpy()[clean["image"]].tolist()
    # A report keeps the two apart: images of one number are not the same image.
    assert set(collect(files).worst_case["dataset"]) == {"digits", "dark"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dataset=dark"], "key 'dataset': expected 'digits' as in recipe"),
        (["dataset=dark", "trained_on=cifar10"], "key 'trained_on': expected 'digits' as in recipe"),
        (["dataset=two", "trained_on=digits"], "expected images of 10 classes and 1 channels"),
        (["dataset=nope", "trained_on=digits"], "unknown dataset 'nope'"),
        (["trained_on=digits"], "expected 'trained_on' to differ from 'dataset', got 'digits' twice"),
    ],
)
def test_images_that_do_not_suit(rbe: Rbe, runs: Path, data_root: Path, settings: list[str], message: str) -> None:
    sets = [argument for setting in settings for argument in ("--set", setting)]
    result = rbe("attack", WHITEBOX, BASELINE, "--runs", runs, *sets)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert message in result.err


def test_a_model_of_ones_own_takes_the_images_that_the_protocol_names(
    rbe: Rbe, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_dark.py").write_text(
        "import torch\nmodel = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["attack", WHITEBOX, "--model", "own_dark:model", "--set"]
    assert rbe(*arguments, f"dataset={tmp_path / 'dark.npz'}").code == 0
    assert {file.provenance["target"]["dataset"] for file in _outcomes(tmp_path / "runs")} == {"dark"}


def test_a_network_that_does_not_take_the_images(rbe: Rbe, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another size than it was, or will be, trained on: told before it is trained."""
    monkeypatch.chdir(data_root)
    monkeypatch.syspath_prepend(data_root)
    Path("flat_net.py").write_text(
        "from torch import nn\n"
        "def flat(channels, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))\n"
    )
    large, labels = np.zeros((20, 16, 16), dtype=np.uint8), np.arange(20) % 10
    np.savez("large.npz", x_train=large, y_train=labels, x_test=large, y_test=labels)
    settings = ["--set", "dataset=large", "--set", "trained_on=digits"]
    result = rbe("attack", WHITEBOX, "digits/baseline-3[network=flat_net:flat,network_args={}]", *settings)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "expected one that maps images (1, 16, 16) to 10 classes" in result.err
    assert not Path("runs").exists()
