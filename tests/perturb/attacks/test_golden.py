"""Every transfer attack against the released code's numbers, image by image in float64, with the same draws."""

import pytest
import torch

from robustbench_ens.config.attacks import attack_class
from robustbench_ens.perturb.attack import Draws, Pool, Problem
from robustbench_ens.perturb.attacks.admix import Admix
from robustbench_ens.perturb.attacks.bsr import Bsr, BsrDraws
from robustbench_ens.perturb.attacks.momentum_pgd import MomentumPgd
from robustbench_ens.perturb.attacks.pgn import Pgn
from robustbench_ens.perturb.attacks.sia import Sia, SiaDraws
from robustbench_ens.perturb.attacks.tim import gaussian_kernel
from robustbench_ens.perturb.attacks.vmi_fgsm import VmiFgsm
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden

EPS = 8 / 255


def drawn(name, *place):
    """A stored draw of one step and copy, which all images share, for each of the four images."""
    found = golden.transfer()[name][place]
    return found.expand(4, *found.shape)


def neighbours(step, count):
    return golden.transfer()["neighbour_u"][step, :count].double().transpose(0, 1) / 127


class Mi(MomentumPgd):
    random_start = False


class GoldenVmi(VmiFgsm):
    def offsets(self, images, step):
        return neighbours(step, 4)


class GoldenPgn(Pgn):
    def offsets(self, images, step):
        return neighbours(step, 3)


class GoldenAdmix(Admix):
    """Mixes the images of the batch as they are at the step, with each other, where ours mixes clean ones in."""

    mixes, scales, copies = 2, 3, 6

    def others(self, images, step, mix):
        return images[golden.transfer()["admix_perm"][step, mix].long()]


class GoldenBsr(Bsr):
    copies, as_released = 4, True

    def drawn(self, images, step, copy):
        whole = ("bsr_len_outer", "bsr_perm_outer"), ("bsr_len_inner", "bsr_perm_inner")
        outer, inner = ([drawn(name, step, copy).long() for name in names] for names in whole)
        columns_first = drawn("bsr_axes", step, copy, 0) == 3
        return BsrDraws(columns_first, *outer, drawn("bsr_angle", step, copy), *inner)


class GoldenSia(Sia):
    copies = 4

    def drawn(self, images, step, copy):
        edges = (drawn(name, step, copy).long() for name in ("sia_rows", "sia_cols", "sia_op"))
        noise = 16 / 255 * golden.transfer()["sia_noise_u"][step, copy].double() / 127
        return SiaDraws(*edges, drawn("sia_param", step, copy), noise)


ATTACKS = {
    "mi": Mi,
    "ni": attack_class("ni_fgsm"),
    "tim": attack_class("tim"),
    "sim": attack_class("sim"),
    "sini": attack_class("si_ni_fgsm"),
    "admix": GoldenAdmix,
    "vmi": GoldenVmi,
    "pgn": GoldenPgn,
    "bsr": GoldenBsr,
    "sia": GoldenSia,
}


def attacked(name, on, steps):
    ensemble, images = golden.shifted_ensemble(), golden.vectors()["x"][:4]
    labels, seen = golden.transfer()["y_attack"][:4], []
    scores = ensemble.members[0]
    if on == "ens":
        scores = lambda x: torch.stack([member(x) for member in ensemble.members]).mean(dim=0)  # noqa: E731
    problem = Problem(
        images,
        labels,
        scores,
        cross_entropy,
        EPS,
        EPS / 10,
        steps,
        Draws((0,), range(4)),
        Pool(images, labels),
        ensemble.members if on == "ens" else [scores],
        on_step=lambda step, values, gradient: seen.append(gradient / 4),
    )
    return ATTACKS[name](problem).run() - images, seen


def check(on, name, steps, delta):
    vectors = golden.transfer()
    found, gradients = attacked(name, on, steps)
    torch.testing.assert_close(found, vectors[f"{on}_{name}_delta_{delta}"], rtol=0, atol=1e-9)
    for step in (1, 2):
        mine, stored = gradients[step - 1], f"{on}_{name}_grad_step{step}"
        torch.testing.assert_close(mine[0], vectors[stored], rtol=0, atol=1e-9)
        torch.testing.assert_close(mine.abs().flatten(1).sum(1), vectors[f"{stored}_l1"], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_ten_steps_on_one_network(name):
    check("one", name, 10, "final")


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_two_steps_on_the_mean_logits(name):
    check("ens", name, 2, "step2")


def test_the_kernel_of_tim():
    torch.testing.assert_close(gaussian_kernel(15), golden.transfer()["tim_kernel"], rtol=0, atol=1e-15)
