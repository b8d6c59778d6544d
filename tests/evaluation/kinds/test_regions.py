from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.images import EvaluationImages
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.kinds import regions as regions_module
from robustbench_ens.evaluation.kinds.diversity import measured_images
from robustbench_ens.evaluation.kinds.regions import directions, regions_around
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.record import is_evaluated
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.outcomes import arrays_path, read_outcomes
from robustbench_ens.perturb.plane import rademacher_direction
from tests.evaluation.runs import arrays as kept
from tests.evaluation.runs import attempts, parts

PROTOCOL = "digits/regions[images=30,right_images=2,grid=5]"


class Linear(nn.Module):
    """Logits ``(0, w . (x - 1/2) - threshold)``."""

    def __init__(self, w, threshold):
        super().__init__()
        self.w, self.threshold = nn.Parameter(torch.tensor(w)), threshold

    def forward(self, x):
        z = (x - 0.5).flatten(1) @ self.w - self.threshold
        return torch.stack([torch.zeros_like(z), z], dim=1)


WEIGHTS = ([1.0, -2.0, 0.5, 3.0], [-1.0, -2.0, 2.5, 0.3])
THRESHOLDS = (0.83, 0.312)


def linear_job(tmp_path, surrogate, reference="digits/regions[eps=[0.2],grid=9]"):
    members = [Linear(w, threshold) for w, threshold in zip(WEIGHTS, THRESHOLDS, strict=True)]
    return Job(
        load_protocol(reference).settings,
        LoadedModel(Ensemble(members), SimpleNamespace(id="linear#0")),
        [LoadedModel(Ensemble([surrogate]), SimpleNamespace(id="surrogate#1"))],
        EvaluationImages(torch.tensor([7]), torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), digest=""),
        store=Store(tmp_path),
        device=torch.device("cpu"),
    )


def test_the_boundary_of_a_linear_model_is_where_it_must_be(tmp_path):
    """Up the surrogate's sign and across the random one the score is ``a * w.s + b * w.r - t``: a straight line."""
    surrogate = Linear(WEIGHTS[0], 0.0)
    job = linear_job(tmp_path, surrogate)
    found = regions_around(job, job.settings, 0).numpy()
    line = np.linspace(-0.2, 0.2, 9)
    s, r = np.sign(WEIGHTS[0]), rademacher_direction((4,), 0, 7).numpy()
    for member, (w, threshold) in enumerate(zip(WEIGHTS, THRESHOLDS, strict=True)):
        scores = line[:, None] * np.dot(w, s) + line[None, :] * np.dot(w, r) - threshold
        assert np.abs(scores).min() > 1e-6
        np.testing.assert_array_equal(found[member], scores > 0)
        assert 0 < found[member].mean() < 1
    assert found.shape == (3, 9, 9)
    # Along the surrogate's own direction sub-model 0 gives way at a = 0.83 / 6.5 = 0.128, past the point 0.1.
    assert found[0, :, 4].tolist() == [0] * 7 + [1] * 2


def test_a_surrogate_that_is_sure_has_a_direction_in_single_precision(tmp_path):
    sure = Linear([200.0, -200.0, 100.0, -50.0], 60.0)
    up, _ = directions(job := linear_job(tmp_path, sure), job.settings, 0)
    assert up.dtype == torch.float32
    assert up.flatten().tolist() == [1, -1, 1, -1]


def test_a_surrogate_without_a_gradient_is_an_error(tmp_path):
    job = linear_job(tmp_path, Linear([0.0] * 4, 1.0))
    with pytest.raises(
        UserError, match="expected a surrogate with a gradient at every image, got none of 'surrogate#1'"
    ):
        regions_around(job, job.settings, 0)


def run(job):
    return kept(job)


def test_the_middle_is_the_clean_prediction(make_job):
    job = make_job(PROTOCOL)
    arrays = run(job)
    chosen = measured_images(job, job.settings).tolist()
    assert len(chosen) == 2
    for position in chosen:
        index, label = int(job.indices[position]), int(job.labels[position])
        grids = arrays[f"{index}/regions"]
        assert (grids.shape, grids.dtype) == ((4, 5, 5), np.int32)
        assert (grids[:, 2, 2] == label).all()
        assert arrays[f"{index}/label"] == label
        image = torch.from_numpy(arrays[f"{index}/image"]).double() / 255
        assert torch.allclose(image, job.images[position].double(), atol=1e-7)
    assert arrays["class_names"].tolist() == [str(k) for k in range(10)]
    assert len(arrays) == 2 * 3 + 1


def test_regions_do_not_depend_on_the_batch_size(make_job, monkeypatch):
    whole = run(make_job(PROTOCOL))
    monkeypatch.setattr(regions_module, "BATCH_SIZE", 7)
    again = run(make_job(PROTOCOL))
    assert whole.keys() == again.keys()
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


def test_every_target_sees_the_same_plane(make_job):
    job = make_job(PROTOCOL)
    other = replace(job, target=LoadedModel(job.target.ensemble.members[0], job.target.record))
    for mine, theirs in zip(directions(job, job.settings, 3), directions(other, job.settings, 3), strict=True):
        assert torch.equal(mine, theirs)


def test_the_surrogate_must_be_hold_out(make_job):
    job = make_job(PROTOCOL)
    job = replace(job, sources=[job.target])
    with pytest.raises(UserError, match="expected a hold-out ensemble"):
        next(parts(job))


def test_progress_counts_predictions():
    settings = load_protocol(PROTOCOL).settings
    assert attempts(settings, 3) == 2 * 25 * 4 // 30


def test_parts_of_an_interrupted_run_keep_their_arrays(trained, digits, tmp_path, interrupt):
    protocol = load_protocol(PROTOCOL)
    arguments = (protocol, trained[0], [trained[1000]], digits)
    whole = read_outcomes(evaluate(*arguments, Store(tmp_path / "whole"))).arrays
    interrupt(*arguments, Store(tmp_path / "cut"))
    path = evaluate(*arguments, Store(tmp_path / "cut"))
    found = read_outcomes(path).arrays
    assert whole.keys() == found.keys()
    assert all(np.array_equal(whole[name], found[name]) for name in whole)
    records = (trained[0].record, [trained[1000].record])
    assert is_evaluated(Store(tmp_path / "cut"), protocol, *records)
    arrays_path(path).unlink()
    assert not is_evaluated(Store(tmp_path / "cut"), protocol, *records)
