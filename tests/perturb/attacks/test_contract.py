"""What every attack of the table must do."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustbench_ens.config.attacks import ATTACKS, LOSSES, attack_class
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.attack import Attack, GradientAttack, Pool
from robustbench_ens.perturb.capture import StateCapture
from robustbench_ens.perturb.losses import cw
from tests.perturb.attacks.toys import IMAGES, LABELS, MIXED, POSITIVE, Linear, curved, run, smaller, three

MOVES_PIXELS = {"m_di2_fgsm", "bsr", "sia"}
"""Moving an image mixes weights of neighbouring pixels, so that a closed form needs weights of one sign."""

STARTS = {name for name, facts in ATTACKS.items() if facts.begins_anywhere}
"""Begin at random noise, and not at the clean image."""

WHOLE_AT_ONCE = {"apgd", "mora", "mora_targeted"}
"""Their first step is twice eps, which is all that a linear model asks for."""

BY_LOOP = [name for name in ATTACKS if issubclass(attack_class(name), GradientAttack)]
STEPS = {"square": 400}
"""To reach the closed form; 8 unless given."""


@pytest.fixture(autouse=True, scope="module")
def fewer_copies():
    with pytest.MonkeyPatch.context() as patch:
        smaller(patch)
        yield


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_lies_in_the_file_of_its_name_and_states_the_facts_of_the_table(name):
    found = attack_class(name)
    assert issubclass(found, Attack)
    assert found.facts is ATTACKS[name]
    assert found.__module__ == f"robustbench_ens.perturb.attacks.{name}"
    assert f"arXiv:{ATTACKS[name].paper.removeprefix('arXiv:')}" in inspect.getmodule(found).__doc__


@pytest.mark.parametrize(
    ("attack", "weight"),
    [(attack, POSITIVE) for attack in ATTACKS] + [(attack, MIXED) for attack in ATTACKS if attack not in MOVES_PIXELS],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
def test_on_a_linear_model_every_pixel_goes_to_the_edge(attack, weight, loss):
    """Class 0's score falls along -sign(w). It is so high that no image is beaten, where some attacks would rest."""
    found = run(Linear(weight, bias=9.0), labels=0 * LABELS, attack=attack, loss=loss, steps=STEPS.get(attack, 8))
    torch.testing.assert_close(found, (IMAGES - 0.1 * weight.sign().reshape(1, 1, 4, 4)).clamp(0, 1))


@pytest.mark.parametrize("attack", ATTACKS)
def test_on_an_ensemble_of_linear_models_every_pixel_goes_to_the_edge(attack):
    """As its sub-models agree; some attacks treat each apart."""
    weight = POSITIVE if attack in MOVES_PIXELS else MIXED
    found = run(three(Linear, weight, bias=9.0), labels=0 * LABELS, attack=attack, steps=STEPS.get(attack, 8))
    torch.testing.assert_close(found, (IMAGES - 0.1 * weight.sign().reshape(1, 1, 4, 4)).clamp(0, 1))


@pytest.mark.parametrize("attack", BY_LOOP)
def test_the_loop_goes_on_where_images_are_beaten(attack):
    towards = torch.where(LABELS == 0, -1.0, 1.0).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(run(attack=attack), (IMAGES + 0.1 * towards).clamp(0, 1))


@pytest.mark.parametrize("attack", ATTACKS)
def test_more_steps_are_no_weaker(attack):
    model = Linear(MIXED, bias=9.0)
    few, many = (run(model, attack=attack, loss="cw", step_size=0.01, steps=steps) for steps in (1, 9))
    unbeaten = LABELS == 0
    before, after = (cw(model(found), LABELS)[unbeaten] for found in (few, many))
    assert (after >= before).all()
    assert attack in WHOLE_AT_ONCE or (after > before).any()


@pytest.mark.slow
@settings(max_examples=150)
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
    if eps == 0 or (steps == 0 and attack not in STARTS):
        assert torch.equal(found, IMAGES)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_image_alone_is_crafted_as_in_any_batch(attack):
    model = curved()
    whole = run(model, attack=attack, steps=3)
    for changes in ({"batch_size": 3}, {"batch_size": 7}, {"batch_size": 3, "workers": 2}, {"workers": 4}):
        assert torch.equal(run(model, attack=attack, steps=3, **changes), whole)
    for row in (0, 6):
        some = slice(row, row + 1)
        assert torch.equal(run(model, IMAGES[some], LABELS[some], [row], attack=attack, steps=3), whole[some])


@pytest.mark.parametrize("attack", ATTACKS)
def test_starts_and_draws_go_with_the_image_not_with_its_place(attack):
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    images, labels = IMAGES[shuffled], LABELS[shuffled]
    model, changes = curved(), {"attack": attack, "steps": 3, "step_size": 0.01}
    whole = run(model, **changes)
    assert torch.equal(run(model, images, labels, shuffled.tolist(), **changes), whole[shuffled])
    assert torch.equal(run(model, start_key=(0, 1), **changes), whole) == (not ATTACKS[attack].draws)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_model_is_left_as_it_was(attack):
    model = Linear(POSITIVE).train()
    run(model, attack=attack)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_that_can_start_at_given_images_does(attack):
    begin = (IMAGES + 0.1 * MIXED.reshape(1, 1, 4, 4)).clamp(0, 1)
    if ATTACKS[attack].begins_anywhere:
        torch.testing.assert_close(run(attack=attack, steps=0, begin=begin, batch_size=3), begin)
    else:
        with pytest.raises(UserError, match=f"attack '{attack}': expected one that starts at given images"):
            run(attack=attack, begin=begin)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_images_and_eps_zero(attack):
    assert run(images=IMAGES[:0], labels=LABELS[:0], indices=[], attack=attack).shape == (0, 1, 4, 4)
    assert torch.equal(run(attack=attack, eps=0.0, step_size=0.0), IMAGES)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (3, 5, 7), (2, 7, 1)])
def test_images_of_any_size_and_number_of_channels(attack, shape):
    images = 0.2 + 0.6 * torch.rand(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = torch.linspace(0.1, 1, images[0].numel(), dtype=torch.float64)
    model, labels = Linear(weight, channels=shape[0], bias=9.0), torch.tensor([0, 1, 0, 1])
    pool = {"pool": Pool(images, labels)}
    found = run(model, images, labels, range(4), attack=attack, loss="cw", steps=STEPS.get(attack, 8), **pool)
    assert (cw(model(found), labels) > cw(model(images), labels))[labels == 0].all()


@pytest.mark.parametrize("attack", BY_LOOP)
def test_going_on_is_one_longer_run(attack):
    """With the starts, the draws and the state of the images; in whatever batches."""
    model, capture = curved(), StateCapture(7)
    longer = run(model, attack=attack, step_size=0.02, steps=9)
    shorter = run(model, attack=attack, step_size=0.02, steps=4, batch_size=3, on_end=capture)
    some = {"images": IMAGES[:7], "labels": LABELS[:7], "indices": range(7)}
    further = run(model, **some, attack=attack, step_size=0.02, steps=5, batch_size=4, resume=capture.state())
    assert torch.equal(further, longer[:7])
    assert not torch.equal(shorter[:7], longer[:7])


@pytest.mark.parametrize("attack", sorted(ATTACKS.keys() - set(BY_LOOP)))
def test_nothing_stands_where_no_gradient_loop_ran(attack):
    capture = StateCapture(7)
    run(attack=attack, on_end=capture)
    assert capture.state() is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_that_needs_skips_refuses_a_network_without_any(attack):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    if not ATTACKS[attack].needs_skips:
        assert run(plain, attack=attack).shape == IMAGES.shape
        return
    with pytest.raises(UserError, match=f"attack {attack}: expected residual blocks with an identity skip"):
        run(plain, attack=attack)


class Silent(nn.Module):
    """Refuses to be asked for a gradient."""

    def __init__(self):
        super().__init__()
        self.model = Linear(MIXED, bias=9.0)

    def forward(self, x):
        assert not torch.is_grad_enabled()
        return self.model(x.detach())


def test_square_asks_for_scores_alone():
    found = run(Silent(), labels=0 * LABELS, attack="square", steps=400)
    torch.testing.assert_close(found, (IMAGES - 0.1 * MIXED.sign().reshape(1, 1, 4, 4)).clamp(0, 1))
