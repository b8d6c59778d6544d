"""What tells architectures apart, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
import torch
from torch import nn

from robustbench_ens.models.architecture import architecture
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.resnet import ResNet


def network(width: int = 4, depth: int = 8, classes: int = 10) -> nn.Module:
    return SubModel(ResNet(depth, width=width, classes=classes, channels=1), torch.zeros(1), torch.ones(1))


def ensemble(count: int = 2, **arguments: int) -> Ensemble:
    return Ensemble(network(**arguments) for _ in range(count))


def test_other_weights_are_the_same_architecture() -> None:
    assert architecture(ensemble()) == architecture(ensemble())
    assert len(architecture(ensemble())) == 64


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "a sub-model": network,
    "three sub-models": lambda: ensemble(3),
    "wider": lambda: ensemble(width=8),
    "deeper": lambda: ensemble(depth=14),
    "more classes": lambda: ensemble(classes=100),
    "float64": lambda: ensemble().double(),
    "the same layers in another class": lambda: nn.Sequential(*ensemble().members),
}


def test_what_takes_other_memory_is_another_architecture() -> None:
    found = [architecture(make()) for make in (ensemble, *OTHERS.values())]
    assert len(set(found)) == len(found)


def test_arguments_count_that_leave_no_weights() -> None:
    assert architecture(nn.Conv2d(1, 2, 3)) != architecture(nn.Conv2d(1, 2, 3, stride=2))


class Odd(nn.Module):
    """Shows an object that has no name of its own."""

    def extra_repr(self) -> str:
        return f"key={object()}"


class Raises(nn.Module):
    def extra_repr(self) -> NoReturn:
        raise RuntimeError("no")


@pytest.mark.parametrize("kind", [Odd, Raises])
def test_odd_modules_of_users_have_a_steady_architecture(kind: type[nn.Module]) -> None:
    assert architecture(kind()) == architecture(kind())


def test_a_scripted_module_has_one(recwarn: pytest.WarningsRecorder) -> None:
    assert architecture(torch.jit.script(nn.Linear(3, 2))) == architecture(torch.jit.script(nn.Linear(3, 2)))
