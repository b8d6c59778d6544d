"""Targets that answer by one sub-model at random: outcomes of every sub-model, and their expected accuracy."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.analysis import derive
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.runner import aggregated, evaluate
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.fold import folded
from robustbench_ens.outcomes import expected, gather, read_outcomes
from robustbench_ens.perturb.losses import cw
from robustbench_ens.perturb.starts import uniform_starts
from tests.evaluation.runs import parts

CHANCES = (0.2, 0.5, 0.3)
EPS, STEPS = 0.1, 3
WHITEBOX = f"digits/whitebox[images=20,eps=[{EPS}],steps={STEPS},restarts=2,loss=cw,self_transfer=false,health.images=5"
PROTOCOLS = [
    "digits/whitebox[images=12,eps=[0.2],steps=3,restarts=2,health.images=5]",
    "digits/whitebox[images=12,eps=[0.2],steps=3,restarts=1,attack=arc,health.images=5]",
    "digits/whitebox[images=12,eps=[0.2],steps=3,restarts=1,attack=apgd,health.images=0]",
    'digits/blackbox-compact[images=12,eps=[0.3],steps=3,variants=[{attack="pgd",losses=["cw"]}]]',
    "digits/adaptive[images=12,steps=3]",
    'digits/autoattack[images=12,steps=3,attacks=["apgd-ce"]]',
    "digits/whitebox-convergence[images=12,steps=[2,3]]",
]


def at_random(target, chances=CHANCES):
    return replace(target, ensemble=Ensemble(target.ensemble.members, "random_member", chances).eval())


@pytest.mark.parametrize("reference", PROTOCOLS)
def test_every_protocol_that_yields_accuracy_scores_each_sub_model(reference, trained, digits, tmp_path):
    if "autoattack" in reference:
        pytest.importorskip("pyautoattack")
    protocol = load_protocol(reference)
    sources = [trained[1000]] * len(getattr(protocol.settings, "surrogates", ()))
    file = read_outcomes(evaluate(protocol, at_random(trained[0]), sources, digits, Store(tmp_path)))
    rows = file.outcomes
    assert set(zip(rows["target_member"], rows["probability"], strict=True)) == set(enumerate(CHANCES))
    assert set(rows["aggregation"]) == {"random_member"}
    clean = rows[rows["eps"] == 0]
    with torch.no_grad():
        logits = trained[0].ensemble.member_logits(digits.x_test[clean["image"].unique()].float() / 255)
    assert clean["predicted"].tolist() == logits.argmax(dim=2).flatten().tolist()
    under = expected(rows).query("eps > 0")["correct"].astype(float)
    assert under.mean() < expected(clean)["correct"].mean()
    if protocol.settings.kind != "whitebox-convergence":
        assert set(derive.accuracies(gather([file]))["n"]) == {12}


def test_the_white_box_accuracy_is_that_of_the_plainest_code(make_job):
    """One image at a time: the least expected correctness over restarts, which end where no sub-model is right."""
    job = make_job(f"{WHITEBOX}]")
    job = replace(job, target=at_random(job.target))
    rows = pd.concat([compute() for _, compute in parts(job)])
    found = expected(rows).groupby("image")["correct"].min().to_dict()
    members, least = job.target.ensemble.members, {}
    for position, index in enumerate(job.indices.tolist()):
        clean, label = job.images[position : position + 1], job.labels[position : position + 1]
        least[index] = 1.0
        for restart in range(2):
            noise = uniform_starts(clean.shape[1:], [index], "pgd", "cw", 0, restart)
            x = (clean + EPS * noise).clamp(clean - EPS, clean + EPS).clamp(0, 1)
            for _ in range(STEPS):
                x = x.detach().requires_grad_()
                value = sum(p * cw(member(x), label) for p, member in zip(CHANCES, members, strict=True))
                (gradient,) = torch.autograd.grad(value.sum(), x)
                x = (x.detach() + EPS / 5 * gradient.sign()).clamp(clean - EPS, clean + EPS).clamp(0, 1)
            right = sum(p for p, one in zip(CHANCES, members, strict=True) if one(x).argmax() == label)
            least[index] = min(least[index], right)
    assert found == pytest.approx(least)
    assert len({round(value, 6) for value in least.values()}) > 2
    again = expected(rows).query("restart == 1").set_index("image")["correct"]
    first = expected(rows).query("restart == 0").set_index("image")["correct"]
    assert (again.isna() == (first == 0)).all()


def test_probabilities_stay_with_the_ensemble(trained):
    own = at_random(trained[0]).ensemble
    for same in (own.aggregated("mean_logits").aggregated("random_member"), folded(own, torch.rand(2, 1, 8, 8))):
        assert same.aggregate.chances == CHANCES
    assert own.aggregated("mean_softmax").aggregate.chances == ()
    assert trained[0].ensemble.aggregated("random_member").aggregate.chances == (1 / 3,) * 3


@pytest.mark.parametrize("chances", [(0.5, 0.5), (0.5, 0.3, 0.3), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_probabilities_are_one_for_each_sub_model_and_sum_to_1(trained, chances):
    with pytest.raises(UserError, match=r"chances: expected 3 numbers in \[0, 1\] that sum to 1, .* got \["):
        at_random(trained[0], chances)


def test_what_looks_at_sub_models_takes_their_mean_for_the_ensemble(trained):
    target = at_random(trained[0])
    assert aggregated(load_protocol("digits/transferability"), target).ensemble.aggregation == "mean_softmax"
    assert aggregated(load_protocol("digits/whitebox"), target).ensemble is target.ensemble


def test_one_prediction_for_all_is_refused(make_job):
    job = make_job(f"{WHITEBOX}]")
    job = replace(job, target=at_random(job.target))
    everything = torch.arange(len(job.images))
    with pytest.raises(UserError, match="expected outcomes of every sub-model .* got those of one answer"):
        job.rows(everything, job.labels, source="a", attack="b", loss="none", eps=0.1)
