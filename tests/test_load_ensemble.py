from pathlib import Path

import pytest
import torch

from robustbench_ens import load_ensemble
from robustbench_ens.errors import UserError
from tests.conftest import BASELINE

SINGLE = Path(__file__).parent.parent / "zoo" / "digits" / "single.toml"


def test_it_maps_images_to_log_probabilities(tiny_runs):
    ensemble = load_ensemble(BASELINE, seed=0, runs=tiny_runs)
    images = torch.rand(4, 1, 8, 8)
    log_probabilities = ensemble(images)
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(4))
    mean = torch.stack([member(images).softmax(1) for member in ensemble.members]).mean(0)
    torch.testing.assert_close(log_probabilities.exp(), mean)
    assert not ensemble.training


def test_what_is_not_trained_says_how_to_train_it(tiny_runs):
    with pytest.raises(UserError, match="no trained ensemble here; run `rbe train digits/dverge-3`"):
        load_ensemble("digits/dverge-3", seed=1, runs=tiny_runs)


def test_a_recipe_is_named_by_its_file_too_and_published_weights_serve(tmp_path):
    by_name, by_path = load_ensemble("digits/single", runs=tmp_path), load_ensemble(SINGLE, runs=tmp_path)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(by_name(images), by_path(images)) and len(by_path.members) == 1
