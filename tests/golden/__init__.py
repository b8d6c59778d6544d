"""The golden vectors, and the networks they were computed with."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.resnet import ResNet

FOLDER = Path(__file__).parent
CHECKPOINT = FOLDER / "released-format-3xResNet20.pth"
LEAKY_CHECKPOINT = FOLDER / "released-format-3xResNet20-leaky.pth"


@cache
def vectors():
    with np.load(FOLDER / "golden.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


@cache
def numbers():
    return json.loads((FOLDER / "golden.json").read_text())


@cache
def _states(path):
    return torch.load(path, weights_only=True)


def ensemble(path=CHECKPOINT, activation="relu"):
    """The three ResNet-20s in float64, in eval mode, with the normalisation's decimals restored."""
    members = []
    for state in _states(path).values():
        member = SubModel(ResNet(20, activation=activation), torch.zeros(3), torch.ones(3))
        member.load_state_dict(state)
        member.double()
        for buffer in (member.normalizer.mean, member.normalizer.std):
            buffer.copy_(torch.tensor([round(value, 4) for value in buffer.tolist()], dtype=torch.float64))
        members.append(member)
    return Ensemble(members).eval()


@cache
def transfer():
    """The vectors of the transfer attacks."""
    return {key: torch.from_numpy(array) for name in ("transfer", "common") for key, array in _arrays(name).items()}


@cache
def crossmax():
    """The vectors of CrossMax, by number of sub-models."""
    return {key: torch.from_numpy(array) for key, array in _arrays("crossmax").items()}


@cache
def arc():
    """The vectors of ARC."""
    return {key: torch.from_numpy(array) for key, array in _arrays("arc").items()}


@cache
def mora():
    """The vectors of MORA."""
    return {key: torch.from_numpy(array) for name in ("mora", "common") for key, array in _arrays(name).items()}


@cache
def fasten():
    """The vectors of FASTEN, and its numbers by case."""
    vectors = {key: torch.from_numpy(array) for key, array in _arrays("fasten").items()}
    return vectors, json.loads((FOLDER / "fasten.json").read_text())


def _arrays(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file}


def shifted_ensemble():
    """The ensemble that transfer attacks are computed on."""
    found = ensemble()
    for member, shift in zip(found.members, transfer()["bias_shift"], strict=True):
        member.model.fc.bias.data += shift
    return found.requires_grad_(False)
