"""The attacks that treat sub-models apart against the released code's numbers, in float64, with the same draws."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from robustbench_ens.models.aggregations.mean_logits import mean_logits
from robustbench_ens.perturb.attack import Draws, Pool, Problem
from robustbench_ens.perturb.attacks.adaea import AdaEa, similarity
from robustbench_ens.perturb.attacks.cwa import Cwa
from robustbench_ens.perturb.attacks.momentum_pgd import MomentumPgd
from robustbench_ens.perturb.attacks.svre import Svre
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden

pytestmark = pytest.mark.slow
EPS = 8 / 255
STEPS = 2
"""Of the ten that are stored: each takes up to 18 gradients of a network, and an error shows in the second."""


class Mi(MomentumPgd):
    random_start = False


class GoldenSvre(Svre):
    def picked(self, images, step):
        return golden.transfer()["svre_pick"][step].long().expand(len(images), -1)


class GoldenAdaEa(AdaEa):
    as_released = True

    def __init__(self, problem):
        super().__init__(problem)
        self.seen = []

    def weighed(self, images, own):
        self.own = own
        found = super().weighed(images, own)
        self.seen.append((found, similarity(own, as_released=True), self.kept(own)))
        return found


class GoldenCwa(Cwa):
    as_released = True

    def __init__(self, problem):
        super().__init__(problem)
        self.momenta = []

    def direction(self, gradient):
        self.momenta.append(super().direction(gradient))
        return self.momenta[-1]


class SmallCwa(GoldenCwa):
    inner_step = 0.5


ATTACKS = {
    "ens": (Mi, 0.1),
    "svre": (GoldenSvre, 0.1),
    "svre_zero": (GoldenSvre, 0.1),
    "adaea": (GoldenAdaEa, 0.1),
    "cwa": (GoldenCwa, 0.2),
    "cwa_small": (SmallCwa, 0.2),
}
"""Class and step size, in units of eps."""


def start(name, images):
    if name in ("ens", "svre_zero"):
        return images
    if name == "adaea":  # whose released start is not clipped
        return images + 0.001 * golden.transfer()["adaea_start_n"].double() / 32
    return (images + EPS * golden.transfer()["start_u"].double() / 127).clamp(0, 1)


@cache
def attacked(name):
    """The attack after two steps, its images, and the gradients of each step."""
    kind, step_size = ATTACKS[name]
    ensemble, images = golden.shifted_ensemble(), golden.vectors()["x"][:4]
    labels, seen = golden.transfer()["y_attack"][:4], []
    problem = Problem(
        images,
        labels,
        lambda points: mean_logits(ensemble.member_logits(points)),
        cross_entropy,
        EPS,
        step_size * EPS,
        STEPS,
        Draws((0,), range(4)),
        Pool(images, labels),
        ensemble.members,
        on_step=lambda step, values, gradient: seen.append(gradient),
    )
    begun = LoopState(start(name, images), kind(problem).state, 0)
    attack = kind(replace(problem, resume=begun))
    return attack, attack.run() - images, seen


def close(mine, stored):
    torch.testing.assert_close(mine, golden.transfer()[stored], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ATTACKS)
def test_images(name):
    close(attacked(name)[1], f"ens_{name}_delta_step2")


@pytest.mark.parametrize(("name", "factor"), [("ens", 4), ("svre", 1), ("svre_zero", 1), ("adaea", 4)])
def test_gradients(name, factor):
    """The stored ones are of the mean over four images, but for SVRE's, which are accumulated ones of unit size."""
    for step in range(STEPS):
        mine = attacked(name)[2][step] / factor
        close(mine[0], f"ens_{name}_grad_step{step + 1}")
        close(mine.abs().flatten(1).sum(1), f"ens_{name}_grad_step{step + 1}_l1")


def test_weights_and_filter_of_adaea():
    vectors = golden.transfer()
    for step, (weight, similar, kept) in enumerate(attacked("adaea")[0].seen):
        stored = vectors["ens_adaea_weights"][step].unsqueeze(1).expand(3, 4)
        torch.testing.assert_close(weight, stored, rtol=0, atol=1e-9)
        torch.testing.assert_close(kept.mean(), vectors["ens_adaea_kept_fraction"][step], rtol=0, atol=0)
        if step == 0:
            close(similar, "ens_adaea_drf_step1")


@pytest.mark.parametrize("name", ["cwa", "cwa_small"])
def test_outer_momentum_of_cwa(name):
    for step, momentum in enumerate(attacked(name)[0].momenta):
        close(momentum[0], f"ens_{name}_outer_momentum_step{step + 1}")
        close(momentum.abs().flatten(1).sum(1), f"ens_{name}_outer_momentum_step{step + 1}_l1")
