"""A recipe's own network that needs contiguous memory: trained, monitored, attacked and loaded like any other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import robustbench_ens
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.data import load_dataset
from robustbench_ens.training.trainer import train
from tests.conftest import Rbe

NETWORKS = """
from torch import nn

class LeNet(nn.Module):
    def __init__(self, channels, classes, view=True):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6)
        self.linear = nn.Linear(216, classes)
        self.view = view

    def forward(self, x):
        z = self.norm(self.convolution(x)).relu()
        return self.linear(z.view(-1, 216) if self.view else z.flatten(1))

class Flattens(LeNet):
    def __init__(self, channels, classes):
        super().__init__(channels, classes, view=False)

class OnlyInTraining(LeNet):
    def __init__(self, channels, classes):
        super().__init__(channels, classes)

    def forward(self, x):
        self.view = self.training
        return super().forward(x)
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("lenets", None)
    Path("lenets.py").write_text(NETWORKS)


def reference(name: str, more: str = "") -> str:
    return f"digits/baseline-3[network=lenets:{name},sub_models=2,steps=3,batch_size=16{more}]"


@pytest.mark.parametrize("name", ["LeNet", "OnlyInTraining"])
def test_it_is_trained_as_if_the_recipe_said_contiguous(name: str) -> None:
    digits = load_dataset("digits")
    state = torch.get_rng_state()
    records = [
        train(load_recipe(reference(name, more)), 0, digits, Store(Path(f"runs{index}")))
        for index, more in enumerate(["", ",channels_last=false"])
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert records[0].weights == records[1].weights


def test_a_network_that_works_is_still_trained_in_channels_last_memory(tmp_path: Path) -> None:
    from robustbench_ens.models.build import build_ensemble
    from robustbench_ens.training.trainer import Training

    digits = load_dataset("digits")
    for name, layout in (("LeNet", torch.contiguous_format), ("Flattens", torch.channels_last)):
        recipe = load_recipe(reference(name))
        ensemble = build_ensemble(recipe, 0, channels=1, classes=10, mean=digits.mean(), std=digits.std())
        assert Training(recipe, 0, digits, tmp_path, "", ensemble, torch.device("cpu")).layout is layout


@pytest.mark.slow
def test_it_is_named_once_and_attacked(rbe: Rbe) -> None:
    name = reference("LeNet")
    line = (
        "network 'lenets:LeNet': the model does not work in channels-last memory and is computed in contiguous memory"
    )
    trained = rbe("train", name)
    assert (trained.code, trained.err) == (0, "")
    assert " ".join(trained.out.split()).count(line) == 1
    attacked = rbe("attack", "digits/whitebox[eps=[0.1],images=20,restarts=1,steps=2]", name)
    assert (attacked.code, attacked.err) == (0, "")
    assert " ".join(attacked.out.split()).count(line) == 1
    transferred = rbe("attack", "digits/transferability[eps=[0.1],images=200,restarts=1,steps=2]", name)
    assert transferred.code == 0, transferred.err
    assert robustbench_ens.load_ensemble(name)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
