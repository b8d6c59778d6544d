from typing import ClassVar

import pytest
import torch

from robustbench_ens.config.attacks import AttackFacts, attack_class, expected_attack
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.attack import Attack
from robustbench_ens.perturb.capture import StateCapture
from tests import golden
from tests.perturb.attacks.toys import IMAGES, LABELS, MIXED, POSITIVE, Linear, run
from tests.shared import needs_advertorch


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
@pytest.mark.parametrize(("attack", "setting", "neutral"), [("m_di2_fgsm", "probability", 0.0), ("sgm", "gamma", 1.0)])
@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
@pytest.mark.parametrize("attacked", ["single", "ensemble"])
def test_without_what_sets_them_apart_both_are_momentum_pgd_from_the_clean_image(
    attack, setting, neutral, loss, attacked, monkeypatch
):
    """And so is advertorch's momentum attack: an oracle for the whole path, image by image in float64."""
    needs_advertorch()
    ensemble, vectors = golden.ensemble(), golden.vectors()
    model = ensemble if attacked == "ensemble" else ensemble.members[0]
    shared = {"images": vectors["x"][:3], "labels": vectors["y"][:3], "indices": range(3), "loss": loss}
    shared |= {"eps": 0.03, "step_size": 0.006, "steps": 5}
    own = run(model, attack=attack, **shared)
    monkeypatch.setattr(attack_class(attack), setting, neutral)
    monkeypatch.setattr(attack_class("momentum_pgd"), "random_start", False)
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "fgsm"}, f"attack: {expected_attack('fgsm')}, got 'fgsm'"),
        ({"loss": "ce"}, "loss: expected one of cross_entropy, cw, cw_legacy, or package.module:name, got 'ce'"),
        ({"options": {"rand_init": False}}, "attack 'pgd': expected no options, got rand_init"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(UserError) as error:
        run(**changes)
    assert str(error.value) == message


def test_nothing_stands_where_no_gradient_loop_ran():
    assert StateCapture(5).state() is None


class TellsMembers(Attack):
    """An attack that returns the clean images, and writes down what it is told of sub-models."""

    facts = AttackFacts("none")
    told: ClassVar[list] = []

    def run(self):
        images = self.problem.images
        self.told.append(torch.stack([member(images) for member in self.problem.members]))
        return images


def test_an_attack_knows_the_sub_models_of_an_ensemble_and_a_network_as_its_only_one():
    TellsMembers.told.clear()
    first, second = Linear(MIXED), Linear(POSITIVE)
    name = f"{__name__}:TellsMembers"
    run(Ensemble([first, second]).eval(), attack=name)
    run(first, attack=name)
    torch.testing.assert_close(TellsMembers.told[0], torch.stack([first(IMAGES), second(IMAGES)]))
    torch.testing.assert_close(TellsMembers.told[1], first(IMAGES).unsqueeze(0))
