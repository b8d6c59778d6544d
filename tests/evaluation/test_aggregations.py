"""The same weights under each aggregation: what differs is what they answer, and the gradient that is followed."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.config.aggregations import AGGREGATIONS
from robustbench_ens.config.attacks import ATTACKS
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import aggregated, evaluate
from robustbench_ens.models.aggregation import load_aggregation
from robustbench_ens.outcomes import find_outcomes, read_outcomes
from robustbench_ens.perturb.losses import cw
from robustbench_ens.perturb.starts import uniform_starts
from tests.evaluation.runs import parts

WHITEBOX = (
    "digits/whitebox[images=60,eps=[0.1],steps=4,restarts=2,loss=cw,health.images=0,self_transfer=false,aggregation={}]"
)
BLACKBOX = (
    'digits/blackbox-compact[images=40,eps=[0.3],steps=4,variants=[{{attack="pgd",losses=["cw"]}}],aggregation={}]'
)


TOGETHER = [name for name, facts in AGGREGATIONS.items() if not facts.at_random]
"""Those by which all sub-models make one answer."""


def outcomes(reference, trained, digits, store):
    protocol = load_protocol(reference)
    sources = [trained[1000]] if protocol.settings.kind == "blackbox" else []
    return read_outcomes(evaluate(protocol, trained[0], sources, digits, store)).outcomes


def answers(ensemble, images, aggregation):
    with torch.no_grad():
        return load_aggregation(aggregation).scores(ensemble.member_logits(images)).argmax(dim=1).tolist()


@pytest.mark.slow
def test_whitebox_outcomes_differ_only_in_what_is_answered(trained, digits, tmp_path):
    frames = {name: outcomes(WHITEBOX.format(name), trained, digits, Store(tmp_path)) for name in TOGETHER}
    assert len(find_outcomes([tmp_path / "outcomes"])) == len(TOGETHER)
    same = ["target", "target_member", "source", "source_member", "attack", "loss", "restart", "steps", "eps"]
    for name, frame in frames.items():
        assert set(frame["aggregation"]) == {name}
        columns = [*same, "image", "label"]
        pd.testing.assert_frame_equal(frame[columns], frames["mean_softmax"][columns])
        clean = frame[frame["attack"] == "clean"]
        images = digits.x_test[clean["image"].tolist()].float() / 255
        assert clean["predicted"].tolist() == answers(trained[0].ensemble, images, name)
    assert trained[0].ensemble.aggregation == "mean_softmax"
    assert len({tuple(frame["predicted"].fillna(-1)) for frame in frames.values()}) == len(TOGETHER)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", TOGETHER)
def test_each_follows_its_own_gradient(make_job, aggregation):
    """Against the plainest code, one image at a time: the survivors are the same."""
    protocol = load_protocol(WHITEBOX.format(aggregation))
    job = make_job(WHITEBOX.format(aggregation))
    job = replace(job, target=aggregated(protocol, job.target))
    rows = pd.concat([compute() for _, compute in parts(job)])
    found = rows[rows["correct"].notna()].groupby("image")["correct"].all().to_dict()
    ensemble, eps, survived = job.target.ensemble.eval(), 0.1, {}
    for position, index in enumerate(job.indices.tolist()):
        clean, label = job.images[position : position + 1], job.labels[position : position + 1]
        beaten = False
        for restart in range(2):
            noise = uniform_starts(clean.shape[1:], [index], "pgd", "cw", 0, restart)
            x = (clean + eps * noise).clamp(clean - eps, clean + eps).clamp(0, 1)
            for _ in range(4):
                x = x.detach().requires_grad_()
                logits = ensemble.member_logits(x)
                if aggregation == "majority_vote":
                    value = sum(cw(z, label) for z in logits) / 3
                else:
                    value = cw(load_aggregation(aggregation).scores(logits), label)
                (gradient,) = torch.autograd.grad(value.sum(), x)
                x = (x.detach() + eps / 5 * gradient.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
            beaten |= answers(ensemble, x, aggregation) != label.tolist()
        survived[index] = not beaten
    assert found == survived
    assert 0 < sum(survived.values()) < len(survived)


def test_blackbox_crafts_once_and_scores_each(trained, digits, tmp_path, monkeypatch):
    store = Store(tmp_path)
    frames = {"mean_softmax": outcomes(BLACKBOX.format("mean_softmax"), trained, digits, store)}
    monkeypatch.setattr("robustbench_ens.evaluation.kinds.blackbox.save_crafted", None)
    for name in ("mean_logits", "majority_vote"):
        frames[name] = outcomes(BLACKBOX.format(name), trained, digits, store)
    for name, frame in frames.items():
        assert set(frame["aggregation"]) == {name}
    assert len({tuple(frame["predicted"]) for frame in frames.values()}) > 1


def test_the_default_is_left_out_of_the_hash():
    for name in ("digits/whitebox", "digits/blackbox-compact"):
        assert "aggregation" not in load_protocol(name).resolved
        hashes = {load_protocol(f"{name}[aggregation={own}]").hash for own in AGGREGATIONS}
        assert len(hashes | {load_protocol(name).hash}) == len(AGGREGATIONS) + 1


@pytest.mark.parametrize("kind", ["whitebox", "blackbox", "adaptive", "autoattack"])
def test_an_unknown_one_is_refused(kind):
    with pytest.raises(UserError, match="key 'aggregation': expected one of mean_softmax, .*, got 'mean'"):
        load_protocol(f"digits/{kind}[aggregation=mean]")


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*ATTACKS, "advertorch:LinfPGDAttack"])
def test_every_attack_beats_a_vote(make_job, attack):
    reference = f"digits/whitebox[images=30,eps=[0.02,0.3],steps=4,restarts=1,attack={attack}"
    reference += ",health.images=0,aggregation=majority_vote]"
    job = make_job(reference)
    job = replace(job, target=aggregated(load_protocol(reference), job.target))
    accuracy = pd.concat([compute() for _, compute in parts(job)]).groupby("eps")["correct"].mean()
    assert accuracy[0.3] < accuracy[0.02]


def test_an_ensemble_answers_as_it_is_defined_unless_the_protocol_says_otherwise(trained):
    votes = LoadedModel(trained[0].ensemble.aggregated("majority_vote"), trained[0].record)
    for reference, expected in (
        ("digits/whitebox", "majority_vote"),
        ("digits/transferability", "majority_vote"),
        ("digits/whitebox[aggregation=mean_softmax]", "mean_softmax"),
        (WHITEBOX.format("mean_logits"), "mean_logits"),
    ):
        assert aggregated(load_protocol(reference), votes).ensemble.aggregation == expected
