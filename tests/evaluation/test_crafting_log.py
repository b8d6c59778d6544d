"""Defences that only hide their gradient are caught; a healthy baseline is not."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from robustbench_ens.analysis.health import file_health
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.crafting_log import Crafting, Restarts, health_rows, sparse_steps
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.perturb.health import Health


class Quantised(nn.Module):
    """Rounds pixels to sixteen levels: the gradient of rounding is zero."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 15).round() / 15)


class Saturated(nn.Module):
    """Logits so large that the softmax is exactly 0 or 1: cross-entropy has no gradient where the answer is right."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) * 1e4


class LogOfSoftmax(nn.Module):
    """The logarithm of a steep softmax: 0, or minus infinity, where the softmax is 1 or 0 to the last bit."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return (self.model(x) * 100).softmax(1).log()


def masked(model, defence):
    ensemble = copy.deepcopy(model.ensemble)
    for index, member in enumerate(ensemble.members):
        ensemble.members[index] = defence(member)
    return LoadedModel(ensemble, model.record)


# With 25 steps, twice as many beat two more of 34 images in one of six trainings of other initial weights, more than a
# healthy attack may gain; with 50 none.
PROTOCOLS = {
    "whitebox": "digits/whitebox[eps=[0.1],images=40,steps=25,restarts=2,health.images=40]",
    "transferability": "digits/transferability[eps=[0.1],images=40,steps=50,restarts=2,health.images=40]",
}


@pytest.fixture
def judged(trained, digits, tmp_path):
    """Attack the trained ensemble, behind a defence, and judge the attack's health."""

    def judge(protocol, defence=None):
        target = masked(trained[0], defence) if defence else trained[0]
        return file_health(read_outcomes(evaluate(load_protocol(protocol), target, [], digits, Store(tmp_path))))

    return judge


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_healthy_baseline_passes(judged, protocol):
    health = judged(protocol)
    assert set(health["sign"]) == {
        *("zero_gradient", "non_finite_gradient", "loss_rising", "saturated", "budget_used", "budget_kept"),
        *("identical_restarts", "doubling_gain"),
    }
    assert health["healthy"].all(), health[~health["healthy"]]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("defence", [Quantised, Saturated])
def test_masked_gradients_are_caught(judged, protocol, defence):
    health = judged(protocol, defence).set_index("sign")
    assert not health.loc["zero_gradient", "healthy"]
    assert health.loc["zero_gradient", "value"] > 0.5
    assert not health.loc["loss_rising", "healthy"]
    assert health.loc["saturated", "healthy"] == (defence is Quantised)


@pytest.mark.slow
def test_a_saturated_loss_is_caught(judged):
    health = judged(PROTOCOLS["transferability"], LogOfSoftmax).set_index("sign")
    assert health.loc["saturated", "value"] > 0.5
    assert not health.loc[["saturated", "non_finite_gradient", "loss_rising"], "healthy"].any()


@pytest.mark.parametrize("attack", ["momentum_pgd", "m_di2_fgsm"])
def test_doubling_goes_on_where_the_attack_stood_and_is_a_run_of_twice_the_steps(make_job, attack):
    job = make_job("digits/blackbox-compact[images=40,eps=[0.1],steps=6,health.images=30]")
    ensemble, everything = job.target.ensemble, torch.arange(40)
    settings = {"attack": attack, "loss": "cross_entropy", "eps": 0.1, "key": ("surrogate", 0)}
    twice = replace(job, settings=job.settings.model_copy(update={"steps": 12}))
    longer = job.answers(ensemble, twice.craft(ensemble, everything, **settings))
    predicted = job.answers(ensemble, job.craft(ensemble, everything, **settings))
    job.double_the_steps(ensemble, everything, predicted, settings["key"])
    correct = [(classes[:30, 0] == job.labels[:30]).double().mean() for classes in (predicted, longer)]
    assert job.crafting[-1].doubling_gain == pytest.approx(float(correct[0] - correct[1])) and correct[0] != correct[1]


def run(images=4, **changes):
    signs = {
        "zero_gradient": (0.0, 0.5, 0.0),
        "non_finite_gradient": (0.0, 0.0, 0.0),
        "loss_rising": 1.0,
        "saturated": 0.0,
        "budget_used": 1.0,
        "budget_kept": True,
    }
    return Crafting("a#0", -1, "pgd", "cw", 0.1, 3, Health(images, **{**signs, **changes}))


def test_restarts_are_put_together_by_their_images():
    rows = list(health_rows("a#0", [run(images=30), run(images=10, zero_gradient=(1.0, 1.0, 1.0), budget_kept=False)]))
    by_name = {(row["name"].rsplit("/", 1)[1], row["step"]): row["value"] for row in rows}
    assert [by_name["zero_gradient", step] for step in range(3)] == [0.25, 0.625, 0.25]
    assert by_name["loss_rising", 3] == 1.0 and by_name["budget_kept", 3] == 0.0
    assert {row["name"].split("/")[1] for row in rows} == {"pgd"} and {row["eps"] for row in rows} == {0.1}


def test_of_few_images_only_what_never_may_be_is_told():
    few = list(health_rows("a#0", [run(images=4, loss_rising=0.0), run(images=5)]))
    assert {row["name"].rsplit("/", 1)[1] for row in few} == {"non_finite_gradient", "budget_kept"}
    enough = list(health_rows("a#0", [run(images=4, loss_rising=0.0), run(images=6)]))
    by_name = {row["name"].rsplit("/", 1)[1]: row["value"] for row in enough}
    assert by_name["loss_rising"] == pytest.approx(0.6)


def test_a_crafting_is_kept_as_json():
    made = run()
    assert Crafting.from_json(made.to_json()) == made


@pytest.mark.parametrize(("steps", "expected"), [(0, []), (1, [0]), (2, [0, 1]), (10, [0, 1, 2, 4, 8, 9])])
def test_sparse_steps(steps, expected):
    assert sparse_steps(steps) == expected


def test_restarts_that_repeat_an_image():
    restarts = Restarts()
    first = torch.arange(3.0).view(3, 1, 1, 1)
    assert restarts.repeated("key", torch.arange(3), first) is None
    later = torch.tensor([9.0, 2.0]).view(2, 1, 1, 1)
    assert restarts.repeated("key", torch.tensor([1, 2]), later) == 0.5
    assert restarts.repeated("another", torch.arange(3), first) is None
