from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.evaluation import distilled
from robustbench_ens.evaluation.kinds import distillation as module
from robustbench_ens.evaluation.kinds.distillation import DISTANCES, feature_distances
from tests.evaluation.kinds.test_diversity import naive_distill, naive_draw
from tests.evaluation.runs import measurements

PROTOCOL = "digits/distillation[images=12,eps=[0.1,0.2],steps=3]"


def run(job):
    return measurements(job)


def naive(job, eps):
    """Distances by sub-model and losses by pair of different ones, one image at a time; on all images."""
    members = [member.eval() for member in job.target.ensemble.members]
    numbers = []
    for position, image in enumerate(job.indices.tolist()):
        target = job.images[position : position + 1]
        drawn, layer = naive_draw(job, image, members[0].num_layers)
        source, label = job.images[drawn : drawn + 1], job.labels[drawn : drawn + 1]
        for i, member in enumerate(members):
            x = naive_distill(member, source, target, layer, eps, job.settings)
            found, wanted, begin = (member.features(images, layer).flatten() for images in (x, target, source))
            distance = (found - wanted).norm().item()
            start = (begin - wanted).norm().item()
            numbers.append(("distance", i, -1, distance))
            numbers.append(("rms_distance", i, -1, (found - wanted).square().mean().sqrt().item()))
            numbers.append(("relative_distance", i, -1, distance / start if start else 0.0))
            numbers += [
                ("loss", i, j, F.cross_entropy(other(x), label).item()) for j, other in enumerate(members) if i != j
            ]
    return pd.DataFrame(numbers, columns=["name", "source_member", "target_member", "value"])


@pytest.mark.slow
@pytest.mark.usefixtures("unfolded")
def test_distillation_is_that_of_the_naive_loop(make_job):
    job = make_job(PROTOCOL)
    measured = run(job)
    for eps in (0.1, 0.2):
        expected = naive(job, eps)
        found = measured[measured["eps"] == eps].set_index(["name", "source_member", "target_member"])["value"]
        for (name, i, j), own in expected.groupby(["name", "source_member", "target_member"]):
            assert found[f"distillation/{name}", i, j] == pytest.approx(own["value"].mean(), rel=1e-9)
            assert found[f"distillation/{name}/standard_error", i, j] == pytest.approx(own["value"].sem(), rel=1e-9)
        for name, own in expected.groupby("name"):
            assert found[f"distillation/{name}", -1, -1] == pytest.approx(own["value"].mean(), rel=1e-9)
        assert found["distillation/images", -1, -1] == 12


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_batch_size(make_job, monkeypatch):
    whole = run(make_job(PROTOCOL))
    for place in (module, distilled):
        monkeypatch.setattr(place, "BATCH_SIZE", 5)
    pd.testing.assert_frame_equal(run(replace(make_job(PROTOCOL), fitting=Fitting(3))), whole, rtol=1e-9)
    pd.testing.assert_frame_equal(run(make_job(PROTOCOL)), whole, rtol=1e-9)


@pytest.mark.slow
def test_measuring_memory_on_the_deepest_layers_moves_no_number(make_job, monkeypatch, tmp_path):
    class Memory:
        def cap(self):
            return 0

        free = cap

        def peak(self, compute):
            layers.clear()
            compute()
            peaks.append(max(layers))
            return 1

    def noted(member, source, target, of, **changes):
        layers.append(int(of.max()))
        return distil(member, source, target, of, **changes)

    layers, peaks, distil = [], [], distilled.distill_at_layers
    job = make_job("digits/distillation[images=24,eps=[0.1],steps=2]")
    whole = run(job)
    monkeypatch.setattr(distilled, "memory_of", lambda device: Memory())
    monkeypatch.setattr(distilled, "distill_at_layers", noted)
    sizes = BatchSizes(tmp_path / "sizes", "1 x 8 x 8", "a made-up GPU")
    pd.testing.assert_frame_equal(run(replace(job, fitting=Fitting(sizes=sizes))), whole, rtol=1e-9)
    assert set(peaks) == {max(layers)}
    assert len(peaks) == 2  # for all sub-models and eps


@pytest.mark.slow
def test_a_larger_eps_distils_more_closely(make_job):
    measured = run(make_job("digits/distillation[images=60,eps=[0.05,0.3]]"))
    whole = measured[(measured["source_member"] == -1)].pivot(index="eps", columns="name", values="value")
    for name in DISTANCES:
        assert whole.loc[0.3, f"distillation/{name}"] < 0.9 * whole.loc[0.05, f"distillation/{name}"]
    assert whole.loc[0.3, "distillation/loss"] > whole.loc[0.05, "distillation/loss"]


class Doubled(nn.Module):
    def features(self, x, layer):
        return layer * x


def test_distances_by_hand():
    target = torch.tensor([[[[0.0, 0.0]]], [[[0.5, 0.5]]]])
    source = torch.tensor([[[[0.3, 0.4]]], [[[0.5, 0.5]]]])
    distilled_images = torch.tensor([[[[0.0, 0.1]]], [[[0.5, 0.5]]]])
    found = feature_distances(Doubled(), distilled_images, target, source, 2)
    expected = torch.tensor([[0.2, 0.0], [0.2 / 2**0.5, 0.0], [0.2, 0.0]])  # the source begins at 2 * 0.5 = 1
    torch.testing.assert_close(found, expected)
