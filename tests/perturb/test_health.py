import pytest
import torch

from robustbench_ens.perturb.health import Recorder


def test_signs_by_hand():
    """Four images in two batches, two steps: at the first step one gradient is zero, at the second one is NaN."""
    recorder, gradient = Recorder("cross_entropy"), torch.ones(2, 1, 1, 1)
    dead, broken = gradient.clone(), gradient.clone()
    dead[0], broken[1] = 0, torch.nan
    recorder(slice(0, 2), 0, torch.tensor([0.0, 1.0]), dead)
    recorder(slice(2, 4), 0, torch.tensor([0.0, 1.0]), gradient)
    recorder(slice(2, 4), 1, torch.tensor([0.5, 1.0]), broken)
    recorder(slice(0, 2), 1, torch.tensor([0.5, 1.5]), gradient)
    images = torch.full((4, 1, 1, 1), 0.5)
    crafted = images + torch.tensor([0.1, 0.05, -0.1, 0.0]).view(4, 1, 1, 1)
    health = recorder.health(crafted, images, eps=0.1)
    assert health.images == 4
    assert health.zero_gradient == (0.25, 0.0)
    assert health.non_finite_gradient == (0.0, 0.25)
    assert health.loss_rising == 0.75
    assert health.saturated == 0.0
    assert health.budget_used == pytest.approx(0.625)
    assert health.budget_kept


@pytest.mark.parametrize(
    ("loss", "last", "saturated"),
    [
        ("cross_entropy", [0.0, 1e-9, 2.0, 0.0], 0.5),
        ("cross_entropy", [-0.0, torch.inf, torch.nan, 1.0], 0.75),
        ("cw", [0.0, 0.0, -1.0, 1.0], 0.0),
        ("cw", [-torch.inf, 0.0, torch.nan, 1.0], 0.5),
        ("cw_legacy", [0.0, 0.0, -torch.inf, -0.1], 0.25),
    ],
)
def test_a_loss_that_is_saturated_at_the_last_step(loss, last, saturated):
    """A loss of 0 is that of a certain model under cross-entropy alone; the first step does not count."""
    recorder, gradient = Recorder(loss), torch.ones(2, 1, 1, 1)
    for step, values in enumerate(([0.0] * 4, [torch.nan] * 4, last)):
        for rows in (slice(2, 4), slice(0, 2)):
            recorder(rows, step, torch.tensor(values)[rows], gradient)
    images = torch.full((4, 1, 1, 1), 0.5)
    assert recorder.health(images, images, eps=0.1).saturated == saturated


@pytest.mark.parametrize(("pixel", "kept"), [(0.6, True), (0.61, False), (1.05, False)])
def test_a_budget_that_is_not_kept(pixel, kept):
    image = torch.full((1, 1, 1, 1), 0.5 if pixel < 1 else 1.0)
    health = Recorder("cross_entropy").health(torch.full((1, 1, 1, 1), pixel), image, eps=0.1)
    assert health.budget_kept is kept
    assert health.loss_rising is None and health.saturated is None and health.zero_gradient == ()
