from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustbench_ens.config.protocols import ONE_START, OWN_ATTACKS
from robustbench_ens.errors import UserError
from robustbench_ens.models.resnet import BasicBlock
from robustbench_ens.perturb.attacks import ATTACKS, Paused, craft
from robustbench_ens.perturb.losses import LOSSES
from tests import golden
from tests.shared import needs_advertorch

IMAGES = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(10) % 2
MIXED, POSITIVE = torch.linspace(-1, 1, 16, dtype=torch.float64), torch.linspace(0.1, 1, 16, dtype=torch.float64)


class Linear(nn.Module):
    """``w x`` and 0 as logits of two classes, behind a residual block without activation that is ``x + x / 4``."""

    def __init__(self, weight):
        super().__init__()
        self.block = BasicBlock(1, 1, 1, nn.Identity)
        self.head = nn.Linear(16, 2, bias=False)
        for convolution in (self.block.conv1, self.block.conv2):
            nn.init.zeros_(convolution.weight)
            convolution.weight.data[:, :, 1, 1] = 0.5
        self.double()
        self.head.weight.data.copy_(torch.stack([weight, torch.zeros(16)]))

    def forward(self, x):
        return self.head(self.block.outer(x, self.block.inner(x)).flatten(1))


def run(model=None, images=IMAGES, labels=LABELS, indices=range(10), **changes):
    settings = {"attack": "pgd", "loss": "cross_entropy", "eps": 0.1, "step_size": 0.05, "steps": 8}
    settings |= {"start_key": (0, 0), "device": torch.device("cpu")} | changes
    return craft(model or Linear(POSITIVE), images, labels, list(indices), **settings)


def test_protocols_and_attacks_know_the_same_names():
    assert tuple(ATTACKS) == OWN_ATTACKS
    drawing = {name for name, attack in ATTACKS.items() if attack.random_start or attack.diversity_probability}
    assert set(ATTACKS) - drawing == {name for name in ONE_START if ":" not in name}


# Moving an image mixes weights of neighbouring pixels, so that one sign is needed where images move.
@pytest.mark.parametrize(
    ("attack", "weight"),
    [(attack, POSITIVE) for attack in ATTACKS] + [(attack, MIXED) for attack in ATTACKS if attack != "m_di2_fgsm"],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
def test_on_a_linear_model_every_pixel_goes_to_the_edge(attack, weight, loss):
    """Class 0's score falls along -sign(w), and rises along it; wherever w is not 0."""
    towards = torch.where(LABELS == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * weight.sign().reshape(1, 1, 4, 4)
    expected = (IMAGES + 0.1 * towards).clamp(0, 1)
    torch.testing.assert_close(run(Linear(weight), attack=attack, loss=loss), expected)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    attack=st.sampled_from(sorted(ATTACKS)),
    loss=st.sampled_from(sorted(LOSSES)),
    eps=st.floats(0, 1),
    relative=st.floats(0.01, 3),
    steps=st.integers(0, 4),
    restart=st.integers(0, 50),
)
def test_the_budget_is_kept_and_the_input_untouched(attack, loss, eps, relative, steps, restart):
    before = IMAGES.clone()
    step_size = eps * relative
    found = run(attack=attack, loss=loss, eps=eps, step_size=step_size, steps=steps, start_key=(0, restart))
    assert torch.equal(IMAGES, before)
    assert (found - IMAGES).abs().max() <= eps + 1e-12
    assert found.min() >= 0
    assert found.max() <= 1
    if eps == 0 or (steps == 0 and not ATTACKS[attack].random_start):
        assert torch.equal(found, IMAGES)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "changes", [{"batch_size": 3}, {"batch_size": 7}, {"batch_size": 3, "workers": 2}, {"workers": 4}]
)
def test_neither_batch_size_nor_workers_change_an_image(attack, changes):
    model = Linear(MIXED)
    assert torch.equal(run(model, attack=attack, steps=2), run(model, attack=attack, steps=2, **changes))


@pytest.mark.parametrize("attack", ATTACKS)
def test_starts_and_draws_go_with_the_image_not_with_its_place(attack):
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    images, labels = IMAGES[shuffled], LABELS[shuffled]
    model, changes = Linear(MIXED), {"attack": attack, "steps": 3, "step_size": 0.01}
    whole = run(model, **changes)
    assert torch.equal(run(model, images, labels, shuffled.tolist(), **changes), whole[shuffled])
    assert torch.equal(run(model, start_key=(0, 1), **changes), whole) == (attack in ONE_START)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_model_is_left_as_it_was(attack):
    model = Linear(POSITIVE).train()
    run(model, attack=attack)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_images_and_eps_zero(attack):
    assert run(images=IMAGES[:0], labels=LABELS[:0], indices=[], attack=attack).shape == (0, 1, 4, 4)
    assert torch.equal(run(attack=attack, eps=0.0, step_size=0.0), IMAGES)


def test_progress_counts_every_image():
    counted = []
    run(batch_size=4, workers=2, on_batch=counted.append)
    assert counted == [4, 4, 2]


def test_the_observer_sees_every_step_of_every_image_and_changes_nothing():
    seen = {}

    def watch(rows, step, values, gradient):
        seen[rows.start, step] = (rows, values, gradient)

    settings = {"batch_size": 4, "workers": 2, "steps": 3, "attack": "momentum_pgd", "loss": "cw"}
    assert torch.equal(run(on_step=watch, **settings), run(**settings))
    assert set(seen) == {(begin, step) for begin in (0, 4, 8) for step in range(3)}
    for rows, values, gradient in seen.values():
        assert values.shape == LABELS[rows].shape
        towards = torch.where(LABELS[rows] == 0, -1.25, 1.25).reshape(-1, 1, 1, 1)
        torch.testing.assert_close(gradient, towards * POSITIVE.reshape(1, 1, 4, 4), rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "neutral"), [("m_di2_fgsm", {"diversity_probability": 0.0}), ("sgm", {"skip_gamma": 1.0})]
)
@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
@pytest.mark.parametrize("attacked", ["single", "ensemble"])
def test_without_what_sets_them_apart_both_are_momentum_pgd_from_the_clean_image(
    attack, neutral, loss, attacked, monkeypatch
):
    """And so is advertorch's momentum attack: an oracle for the whole path, image by image in float64."""
    needs_advertorch()
    ensemble, vectors = golden.ensemble(), golden.vectors()
    model = ensemble if attacked == "ensemble" else ensemble.members[0]
    shared = {"images": vectors["x"][:3], "labels": vectors["y"][:3], "indices": range(3), "loss": loss}
    shared |= {"eps": 0.03, "step_size": 0.006, "steps": 5}
    own = run(model, attack=attack, **shared)
    monkeypatch.setitem(ATTACKS, attack, replace(ATTACKS[attack], **neutral))
    monkeypatch.setitem(ATTACKS, "momentum_pgd", replace(ATTACKS["momentum_pgd"], random_start=False))
    expected = run(model, attack="momentum_pgd", **shared)
    assert torch.equal(run(model, attack=attack, **shared), expected)
    oracle = run(model, attack="advertorch:LinfMomentumIterativeAttack", **shared)
    torch.testing.assert_close(expected, oracle, rtol=0, atol=1e-9)
    assert not torch.equal(own, expected)


def test_moved_images_are_what_the_gradient_is_taken_of():
    """One step from the clean image: the sign of the moved gradient, for each image with a coin of its own."""
    found = run(Linear(MIXED), attack="m_di2_fgsm", steps=1)
    plain = run(Linear(MIXED), attack="sgm", steps=1)
    changed = (found - plain).abs().flatten(1).amax(1) > 0
    assert 0 < changed.sum() < 10


def test_sgm_on_a_network_without_skips_is_an_error():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    with pytest.raises(UserError, match="attack sgm: expected residual blocks with an identity skip"):
        run(plain, attack="sgm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"attack": "fgsm"},
            "attack: expected one of pgd, momentum_pgd, m_di2_fgsm, sgm, advertorch:ClassName, got 'fgsm'",
        ),
        ({"loss": "ce"}, "loss: expected one of cross_entropy, cw, cw_legacy, got 'ce'"),
        ({"options": {"rand_init": False}}, "attack 'pgd': expected no options, got rand_init"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(UserError) as error:
        run(**changes)
    assert str(error.value) == message


class Curved(Linear):
    """The logits of :class:`Linear`, bent, so that another way there is another place."""

    def forward(self, x):
        return super().forward(x) * torch.sin(9 * x.flatten(1)).sum(dim=1, keepdim=True)


@pytest.mark.parametrize("attack", ATTACKS)
def test_going_on_is_one_longer_run(attack):
    """With the starts, the draws and the momentum of the images; in whatever batches."""
    model, paused = Curved(MIXED), Paused(7)
    longer = run(model, attack=attack, step_size=0.02, steps=9)
    shorter = run(model, attack=attack, step_size=0.02, steps=4, batch_size=3, on_end=paused)
    some = {"images": IMAGES[:7], "labels": LABELS[:7], "indices": range(7)}
    further = run(model, **some, attack=attack, step_size=0.02, steps=5, batch_size=4, resume=paused.standing())
    assert torch.equal(further, longer[:7])
    assert not torch.equal(shorter[:7], longer[:7])


def test_nothing_stands_where_no_gradient_loop_ran():
    assert Paused(5).standing() is None
