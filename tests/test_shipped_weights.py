"""The weights that ship: of their recipes as these are, small enough, with a card that is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.data import load_dataset, to_float
from robustbench_ens.models.predict import predict
from robustbench_ens.weights.published import published
from robustbench_ens.weights.record import WEIGHTS
from robustbench_ens.weights.trained import load_trained

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path.parent for path in (ROOT / "zoo" / "weights").rglob("run.json"))
LARGEST = 4e6
"""Bytes of the weights of an ensemble of three."""


@pytest.mark.slow
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.relative_to(ROOT / "zoo" / "weights").as_posix())
def test_shipped_weights_are_those_of_their_recipe(folder: Path) -> None:
    recipe = load_recipe(folder.parent.relative_to(ROOT / "zoo" / "weights").as_posix())
    ensemble, record = load_trained(folder, recipe)  # compares the digest of the weights
    assert published(recipe)[record.seed] == folder == folder.parent / f"seed-{record.seed}"
    assert (folder / WEIGHTS).stat().st_size <= LARGEST * max(record.sub_models / 3, 1)
    card = (folder / "README.md").read_text()
    assert record.weights[:16] in card and record.recipe_hash in card
    if record.dataset == "digits":
        assert record.training is not None
        digits = load_dataset("digits")
        assert record.data_digest == digits.digest
        right = predict(ensemble, to_float(digits.x_test), torch.device("cpu")) == digits.y_test
        assert float(right.double().mean()) == pytest.approx(record.training["clean_accuracy"]["-1"], abs=0.003)
