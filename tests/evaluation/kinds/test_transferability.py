from dataclasses import replace

import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.kinds.transferability import images_all_get_right
from tests.evaluation.runs import outcomes

PROTOCOL = "digits/transferability[images=40,eps=[0.2],steps=4,restarts=2]"


def run(job):
    return outcomes(job)


def test_only_images_that_every_sub_model_gets_right_and_all_starts_on_all_of_them(make_job):
    job = make_job(PROTOCOL)
    rows = run(job)
    with torch.no_grad():
        right = (job.target.ensemble.eval().member_logits(job.images).argmax(-1) == job.labels).all(0)
    expected = set(job.indices[right].tolist())
    assert 0 < len(expected) < 40
    assert set(rows["image"]) == expected
    counts = rows.groupby(["source_member", "target_member", "restart"]).size()
    assert set(counts) == {len(expected)}
    assert len(counts) == 3 * 4 * 2  # three sources; three sub-models and the ensemble; two starts
    assert rows["correct"].notna().all()


@pytest.mark.slow
def test_each_column_scores_that_sub_model_on_images_crafted_on_that_row(make_job):
    job = make_job(PROTOCOL)
    rows = run(job)
    positions = images_all_get_right(job)
    ensemble = job.target.ensemble
    crafted = job.craft(
        ensemble.members[1], positions, attack="pgd", loss="cross_entropy", eps=0.2, key=("member", 1, 0)
    )
    for target, model in ((2, ensemble.members[2]), (-1, ensemble)):
        cell = rows[(rows["source_member"] == 1) & (rows["target_member"] == target) & (rows["restart"] == 0)]
        assert cell["predicted"].tolist() == job.predict(model, crafted).tolist()


def test_an_untrained_ensemble_is_an_error(make_job):
    job = make_job(PROTOCOL)
    job.data = replace(job.data, labels=(job.labels + 1) % 10)
    with torch.no_grad():
        wrong = (job.target.ensemble.eval().member_logits(job.images).argmax(-1) == job.labels).all(0)
    job.labels[wrong] = (job.labels[wrong] + 1) % 10
    with pytest.raises(UserError, match="expected images that every sub-model classifies correctly, got none among 40"):
        images_all_get_right(job)
