from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out, variants
from tests.evaluation.runs import outcomes

PROTOCOL = "digits/blackbox-compact[images=30,eps=[0.1,0.2],steps=4]"


def run(job):
    return outcomes(job)


@pytest.mark.slow
def test_every_variant_of_every_surrogate_at_every_eps_on_every_image(make_job):
    job = make_job(PROTOCOL)
    rows = run(job)
    assert len(variants(job.settings)) == 6
    counts = rows.groupby(["source", "eps", "attack", "loss", "restart"]).size()
    assert len(counts) == 2 * 6
    assert set(counts) == {30}
    assert set(rows["source"]) == {job.sources[0].record.id}
    assert set(rows["target"]) == {job.target.record.id}


@pytest.mark.slow
def test_crafted_images_are_reused_and_give_the_same_outcomes(make_job, monkeypatch):
    job = make_job(PROTOCOL)
    first = run(job)
    stored = sorted(job.store.root.rglob("*.safetensors"))
    assert len(stored) == 12

    def refuse(*_, **__):
        raise AssertionError("crafted again")

    monkeypatch.setattr(job, "craft", refuse)
    pd.testing.assert_frame_equal(run(job), first)
    other = replace(job, target=job.sources[0], sources=[job.sources[0]])
    monkeypatch.setattr("robustbench_ens.evaluation.kinds.blackbox.check_hold_out", lambda *_: None)
    monkeypatch.setattr(other, "craft", refuse)
    assert set(run(other)["target"]) == {job.sources[0].record.id}


@pytest.mark.slow
def test_the_two_losses_craft_different_images(make_job):
    job = make_job(PROTOCOL)
    run(job)
    folder = next(job.store.root.rglob("eps-0.2"))
    names = {path.name: path.read_bytes()[-1920:] for path in folder.iterdir()}
    assert names["momentum_pgd-cw-0.safetensors"] != names["momentum_pgd-cross_entropy-0.safetensors"]
    assert len(set(names.values())) == 6


@pytest.mark.slow
def test_transfer_hurts_the_surrogate_itself_more_than_the_target(make_job):
    job = make_job("digits/blackbox-compact[images=100,eps=[0.1],steps=10]")
    on_target = run(job)["correct"].mean()
    source = job.sources[0]
    crafted = job.craft(
        source.ensemble, torch.arange(100), attack="momentum_pgd", loss="cross_entropy", eps=0.1, key=("surrogate", 0)
    )
    on_itself = (job.predict(source.ensemble, crafted) == job.labels).double().mean()
    assert on_itself < on_target < 0.95


def test_a_surrogate_of_the_same_lineage_is_an_error(trained):
    target, surrogate = trained[0].record, trained[1000].record
    check_hold_out(target, surrogate)
    with pytest.raises(UserError, match=r"both descend from digits/baseline-3#0/0; give the surrogate another seed"):
        check_hold_out(target, replace(surrogate, lineage=[*surrogate.lineage, "digits/baseline-3#0/0"]))
    with pytest.raises(UserError, match="the same weights"):
        check_hold_out(target, replace(surrogate, weights=target.weights))
