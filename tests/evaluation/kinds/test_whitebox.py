from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.config.attacks import LOSSES, loss_function
from robustbench_ens.perturb.starts import uniform_starts
from tests.evaluation.runs import check_a_beaten_image_rests, check_train_mode_changes_nothing, outcomes

PROTOCOL = "digits/whitebox[images=40,eps=[0.05,0.15],steps=5,restarts=4]"
THROUGH_THE_JOB = ("pgd", "m_di2_fgsm", "sgm", "apgd", "square")
"""One attack of each way to craft; ``perturb/attacks/test_contract.py`` tries them all."""

NAIVE = PROTOCOL.replace("images=40", "images=16")
"""Few images, as the plainest code takes each by itself."""


def naive(job):
    """All restarts on all images, one image at a time, in the plainest code."""
    model, settings = job.target.ensemble.eval(), job.settings
    survived = {}
    for eps in settings.eps:
        for position, index in enumerate(job.indices.tolist()):
            clean, label = job.images[position : position + 1], job.labels[position : position + 1]
            beaten = False
            for restart in range(settings.restarts):
                noise = uniform_starts(clean.shape[1:], [index], settings.attack, settings.loss, settings.seed, restart)
                x = (clean + eps * noise).clamp(clean - eps, clean + eps).clamp(0, 1)
                for _ in range(settings.steps):
                    x = x.detach().requires_grad_()
                    loss_function(settings.loss)(model(x), label).sum().backward()
                    x = x.detach() + eps / 5 * x.grad.sign()
                    x = torch.max(torch.min(x, clean + eps), clean - eps).clamp(0, 1)
                beaten |= model(x).argmax(1).item() != label.item()
            survived[eps, index] = not beaten
    model.zero_grad()
    return survived


def run(job):
    return outcomes(job)


@pytest.mark.slow
def test_dropping_beaten_images_gives_the_naive_loops_worst_case(make_job):
    job = make_job(NAIVE)
    rows = run(job)
    worst = rows[rows["correct"].notna()].groupby(["eps", "image"])["correct"].all()
    expected = naive(job)
    assert worst.to_dict() == expected
    assert 0 < sum(expected.values()) < len(expected)


@pytest.mark.slow
def test_a_beaten_image_is_not_attempted_again_and_an_unbeaten_one_always(make_job):
    rows = run(make_job(PROTOCOL))
    assert len(rows) == 2 * 4 * 40
    assert all(image["restart"].tolist() == [0, 1, 2, 3] for _, image in rows.groupby(["eps", "image"]))
    check_a_beaten_image_rests(rows, 4)


@pytest.mark.slow
def test_outcomes_do_not_depend_on_the_batch_size(make_job, monkeypatch):
    from robustbench_ens.evaluation import job as job_module

    whole = run(make_job(PROTOCOL))
    plain = job_module.craft

    def by_sevens(model, clean, settings, compute, **rest):
        return plain(model, clean, settings, replace(compute, batch_size=7), **rest)

    monkeypatch.setattr(job_module, "craft", by_sevens)
    pd.testing.assert_frame_equal(run(make_job(PROTOCOL)), whole)


@pytest.mark.slow
def test_a_model_in_train_mode_is_attacked_and_scored_in_eval_mode(make_job):
    """Scoring in train mode would use batch statistics, and move the running ones."""
    check_train_mode_changes_nothing(make_job(PROTOCOL), run)


@pytest.mark.slow
def test_every_attack_and_loss_keeps_the_budget_and_beats_no_more_at_smaller_eps(make_job):
    for attack in THROUGH_THE_JOB:
        for loss in LOSSES:
            job = make_job(f"digits/whitebox[images=30,eps=[0.02,0.3],steps=5,restarts=1,attack={attack},loss={loss}]")
            positions = torch.arange(30)
            crafted = job.craft(job.target.ensemble, positions, attack=attack, loss=loss, eps=0.3, key=(0,))
            assert (crafted - job.images).abs().max() <= 0.3 + 1e-9
            accuracy = run(job).groupby("eps")["correct"].mean()
            assert accuracy[0.3] < accuracy[0.02]
