"""What is kept of a model recognises it up to rounding, and shows every other change of scores or gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_ens.config.schema import Probe, ProbeFacts, check_facts
from robustbench_ens.models.probe import DIRECTIONS, modules_behind, probe, probe_differences, same_probe
from robustbench_ens.models.resnet import ResNet

Change = Callable[[Tensor], Tensor]
IMAGES = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Through(nn.Module):
    """A small network behind a function of its images, and before one of its scores."""

    def __init__(self, before: Change, after: Change, classes: int = 10) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.network(self.before(x)))


def same(values: Tensor) -> Tensor:
    return values


def seen(
    before: Change = same,
    after: Change = same,
    images: Tensor = IMAGES,
    classes: int = 10,
) -> Probe:
    model = Through(before, after, classes).eval()
    with torch.no_grad():
        scores = model(images)
    return probe(model, images, scores)


def masked(x: Tensor) -> Tensor:
    return x.detach() + 0 * x


def rounded_straight_through(x: Tensor) -> Tensor:
    return x + ((x * 4).round() / 4 - x).detach()


def rounded(x: Tensor) -> Tensor:
    return (x * 4).round() / 4 + 1e-9 * x


CHANGES: dict[str, tuple[Change, Change, str]] = {
    "gradient masked": (masked, same, "its gradients at the same images"),
    "gradient scaled": (lambda x: 0.5 * x + 0.5 * x.detach(), same, "its gradients at the same images"),
    "gradient turned round": (lambda x: 2 * x.detach() - x, same, "its gradients at the same images"),
    "gradient cut off": (lambda x: x.detach(), same, "its gradients at the same images"),
    "scores scaled": (same, lambda z: 2 * z, "its scores of the same images"),
    "a score changed": (same, lambda z: z + 0.1 * torch.eye(10)[0], "its scores of the same images"),
    "classes swapped": (same, lambda z: z.roll(1, dims=1), "its scores of the same images"),
    "images changed": (lambda x: x + 0.02, same, "its scores of the same images"),
    "one image changed": (lambda x: torch.cat([x[:31], x[31:] + 0.1]), same, "its scores of the same images"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_behaviour_shows(name: str) -> None:
    before, after, says = CHANGES[name]
    assert probe_differences(seen(), seen(before, after)) == says
    assert not same_probe(seen(before, after), seen())


def test_two_gradients_of_the_same_scores() -> None:
    """As where a straight-through gradient replaces one that vanishes."""
    assert probe_differences(seen(rounded), seen(rounded_straight_through)) == "its gradients at the same images"


@pytest.mark.parametrize(
    "changed",
    [
        same,
        lambda z: z * (1 + 1e-5),
        lambda z: z + 1e-6,
        lambda z: z.double().float(),
        lambda z: z + 5,
        lambda z: z.log_softmax(1),
        lambda z: z.log_softmax(1) * (1 + 1e-5),
    ],
)
def test_rounding_and_what_decides_nothing_do_not(changed: Change) -> None:
    assert probe_differences(seen(), seen(after=changed)) == ""


def test_threads_and_precision_are_rounding() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, images = ResNet(20, channels=1, classes=10, width=4).eval(), IMAGES
    with torch.no_grad():
        before = probe(network, images, network(images))
        kept = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            network, images = network.double(), images.double()
            after = probe(network, images, network(images))
        finally:
            torch.set_num_threads(kept)
    assert same_probe(before, after)
    assert before != after


def test_it_has_a_fixed_size_and_is_json() -> None:
    large = seen(classes=1000)
    assert [len(row) for row in large["scores"]] == [DIRECTIONS] * 32
    assert [len(row) for row in large["gradients"]] == [DIRECTIONS + 1] * 32
    assert json.loads(json.dumps(large, allow_nan=False)) == large
    check_facts(ProbeFacts, large)


@pytest.mark.parametrize("strange", [float("inf"), -float("inf"), 1e30])
def test_infinite_scores_leave_the_others_to_be_compared(strange: float) -> None:
    def cut(z: Tensor) -> Tensor:
        return torch.cat([z[:, :9], torch.full_like(z[:, 9:], strange)], dim=1)

    assert same_probe(seen(after=cut), json.loads(json.dumps(seen(after=cut), allow_nan=False)))
    assert not same_probe(seen(after=cut), seen())


def test_gradients_of_chance_are_not_compared() -> None:
    def noisy(x: Tensor) -> Tensor:
        return x + (x.detach() - x) * torch.rand(())

    assert "gradients" not in seen(noisy)
    assert same_probe(seen(noisy), seen(noisy))


def test_few_kinks_are_rounding_and_many_are_not() -> None:
    one = seen()
    few, many = ({**one, "gradients": [list(row) for row in one["gradients"]]} for _ in range(2))
    for index in range(32):
        many["gradients"][index][1] *= 2
    few["gradients"][0] = many["gradients"][0]
    assert same_probe(one, few)
    assert not same_probe(one, many)


@pytest.mark.parametrize(
    "other", [None, {}, {"scores": []}, {"scores": [[1.0], [1.0, 2.0]]}, {"scores": [[1.0]], "gradients": [[]]}]
)
def test_what_is_no_probe_of_it(other: Any) -> None:
    assert not same_probe(seen(), other)
    assert not same_probe(other, seen())
    assert same_probe(None, None)


class Helper:
    """A part of a model that is no nn.Module."""


def of(module: str, thing: Any) -> Any:
    """``thing`` as if it came from ``module``."""
    thing.__module__ = module
    return thing


def test_where_the_code_of_a_model_comes_from() -> None:
    base = of("a_base", type("Base", (nn.Module,), {}))
    kind = of("a_class", type("Kind", (base,), {"mixed_in": of("a_mixin", lambda self: 0)}))
    model = nn.Sequential(nn.Flatten(), kind())
    model[1].register_forward_hook(of("a_hook", lambda *arguments: None))
    model[1].helper = of("a_helper", type("Own", (Helper,), {}))()
    model[1].steps = [partial(of("a_step", lambda x: x))]
    model[0].forward = MethodType(of("a_patch", lambda self, x: x), model[0])
    expected = {"a_base", "a_class", "a_mixin", "a_hook", "a_helper", "a_step", "a_patch", "torch.nn.modules.flatten"}
    assert expected <= modules_behind(model)


def test_an_object_that_answers_nothing_is_passed_over() -> None:
    class Rude:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    model = nn.Flatten()
    vars(model)["rude"] = Rude()
    assert "torch.nn.modules.flatten" in modules_behind(model)
