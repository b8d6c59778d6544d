from dataclasses import replace

import numpy as np
import pytest
import torch

from robustbench_ens.errors import UserError
from tests.evaluation.runs import arrays as kept
from tests.evaluation.runs import attempts, parts, taken

PROTOCOL = 'digits/gallery[images=5,steps=3,variants=[{attack="momentum_pgd",losses=["cw"],restarts=2}]]'
KEYS = [
    "clean/clean/none/0",
    "whitebox/pgd/cross_entropy/0",
    "blackbox/momentum_pgd/cw/0",
    "blackbox/momentum_pgd/cw/1",
]


def run(job):
    return kept(job)


def test_every_variant_with_what_was_added_and_what_all_say(make_job):
    job = make_job(PROTOCOL)
    arrays = run(job)
    assert [name.removesuffix("/images") for name in arrays if name.endswith("/images")] == KEYS
    assert arrays["indices"].tolist() == job.indices.tolist()
    assert arrays["labels"].tolist() == job.labels.tolist()
    models = [*job.target.ensemble.members, job.target.ensemble]
    for key in KEYS:
        added = torch.from_numpy(arrays[f"{key}/perturbation"]).double()
        images = job.images + added
        assert float(added.abs().max()) <= 0.2 + 1e-6
        assert images.min() >= -1e-6
        assert images.max() <= 1 + 1e-6
        shown = arrays[f"{key}/images"]
        assert shown.dtype == np.uint8
        assert np.abs(shown - 255 * images.numpy()).max() <= 0.5 + 1e-3
        predicted = np.stack([job.predict(model, images).numpy() for model in models], axis=1)
        np.testing.assert_array_equal(arrays[f"{key}/predicted"], predicted)
    assert not arrays[f"{KEYS[0]}/perturbation"].any()
    assert all(arrays[f"{key}/perturbation"].any() for key in KEYS[1:])
    assert not np.array_equal(*(arrays[f"{key}/perturbation"] for key in KEYS[2:]))
    assert attempts(job.settings, 3) == 3


def test_white_box_is_that_of_the_white_box_protocol(make_job):
    arrays = run(make_job(PROTOCOL))
    job = make_job("digits/whitebox[images=5,eps=[0.2],steps=3,restarts=1,health.images=0]")
    ((_, compute),) = parts(job)
    assert compute()["predicted"].tolist() == arrays[f"{KEYS[1]}/predicted"][:, -1].tolist()


@pytest.mark.slow
def test_black_box_examples_are_the_same_for_every_target(make_job):
    job = make_job(PROTOCOL)
    first = run(job)
    other = replace(job, target=replace(job.target, record=replace(job.target.record, id="other#0")))
    for key in KEYS[2:]:
        np.testing.assert_array_equal(run(other)[f"{key}/images"], first[f"{key}/images"])


def test_no_health_is_kept_of_so_few_images(make_job):
    job = make_job(PROTOCOL)
    run(job)
    assert taken(job) == []


def test_the_surrogate_must_be_hold_out(make_job):
    job = make_job(PROTOCOL)
    with pytest.raises(UserError, match="expected a hold-out ensemble"):
        next(parts(replace(job, sources=[job.target])))
