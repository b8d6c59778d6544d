from dataclasses import replace

import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.weights.record import fingerprint, read_record, run_dir
from robustbench_ens.weights.trained import digest_state, load_trained
from tests.conftest import BASELINE, DVERGE


def test_the_digest_is_of_names_types_shapes_and_bytes():
    state = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    same = {"b": torch.ones(1), "a": torch.zeros(2, 3).to(memory_format=torch.contiguous_format)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3).double(), "b": torch.ones(1)},
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.ones(1) + 1e-7},
    ]
    assert digest_state(state) == digest_state(same)
    assert len({digest_state(other) for other in [state, *others]}) == 5


def test_what_was_trained_is_loaded_in_eval_mode(tiny_runs):
    recipe = load_recipe(DVERGE)
    ensemble, record = load_trained(run_dir(Store(tiny_runs), recipe, 0), recipe)
    assert record.id == f"{DVERGE}#0"
    assert record.weights == digest_state(ensemble.state_dict())
    assert (record.channels, record.classes, record.sub_models) == (1, 10, 3)
    assert not any(module.training for module in ensemble.modules())


def test_the_fingerprint_covers_recipe_seed_data_and_parent(tiny_runs):
    recipe = load_recipe(DVERGE)
    parent = read_record(run_dir(Store(tiny_runs), load_recipe(BASELINE), 0))
    prints = [
        fingerprint(recipe, 0, "d", parent),
        fingerprint(recipe, 1, "d", parent),
        fingerprint(recipe, 0, "e", parent),
        fingerprint(recipe, 0, "d", replace(parent, weights="w")),
        fingerprint(load_recipe(BASELINE), 0, "d", parent),
    ]
    assert len(set(prints)) == len(prints)
