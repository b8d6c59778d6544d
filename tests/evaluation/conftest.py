"""Small ensembles trained once, and jobs on them."""

import copy
from dataclasses import replace

import pytest
import torch

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset
from robustbench_ens.evaluation import distilled, parts
from robustbench_ens.evaluation import runner as module
from robustbench_ens.evaluation.images import evaluation_images
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import run_dir
from robustbench_ens.weights.trained import load_trained
from tests.shared import made_once

pytest.register_assert_rewrite("tests.evaluation.runs")

RECIPE = "digits/baseline-3[network_args.width=4,epochs=4]"


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="session")
def trained(tmp_path_factory, digits):
    """Two models of one recipe, seeds 0 and 1000, as loaded from disk."""
    recipe = load_recipe(RECIPE)

    def make(folder):
        for seed in (0, 1000):
            train(recipe, seed, digits, Store(folder))

    store = Store(made_once(tmp_path_factory, "trained", make))
    return {seed: LoadedModel(*load_trained(run_dir(store, recipe, seed), recipe)) for seed in (0, 1000)}


@pytest.fixture
def make_job(trained, digits, tmp_path):
    """Build a job in float64, where nothing but the method decides the outcome."""

    def make(reference, dtype=torch.float64):
        settings = load_protocol(reference).settings
        models = [LoadedModel(trained[seed].ensemble.to(dtype), trained[seed].record) for seed in (0, 1000)]
        sources = models[1:] if hasattr(settings, "surrogates") else []
        data = evaluation_images(settings, digits)
        data = replace(data, images=data.images.to(dtype))
        return Job(settings, models[0], sources, data, store=Store(tmp_path), device=torch.device("cpu"))

    yield make
    for model in trained.values():
        model.ensemble.float()


@pytest.fixture
def interrupt(monkeypatch):
    """Evaluate until the first part is finished, as if by Ctrl-C then; gives the name of that part's file."""
    plain = parts.compute_part

    def call(*arguments):
        computed = []

        def part(job, path, digest, compute):
            if computed:
                raise KeyboardInterrupt
            computed.append(path.name)
            return plain(job, path, digest, compute)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(parts, "compute_part", part)
            module.evaluate(*arguments)
        return computed[0]

    return call


@pytest.fixture
def unfolded(monkeypatch):
    """Distil the networks themselves: rounding in folded ones turns the sign of a gradient that is almost zero."""
    monkeypatch.setattr(distilled, "folded", lambda model, images: copy.deepcopy(model))
