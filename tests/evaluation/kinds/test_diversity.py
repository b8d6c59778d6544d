from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.seeds import generator
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import distilled
from robustbench_ens.evaluation.distilled import Draws, draw
from robustbench_ens.evaluation.images import EvaluationImages
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.kinds.diversity import measured_images, pair_losses
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.perturb import diversity as equation_2
from tests import golden
from tests.evaluation.runs import measurements

PROTOCOL = "digits/diversity[images=30,eps=[0.1,0.2],steps=3]"


def run(job):
    return measurements(job)


def naive_draw(job, image, num_layers):
    own = generator("distilled", job.settings.seed, image)
    source = int(torch.randint(len(job.images), (), generator=own))
    return source, int(torch.randint(1, num_layers + 1, (), generator=own))


def naive_distill(member, source, target, layer, eps, settings):
    """Equation 1 on one image, in the plainest code: momentum PGD with decay 1."""
    wanted, momentum = member.features(target, layer).detach(), torch.zeros_like(source)
    x = source.clone()
    for _ in range(settings.steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((member.features(x, layer) - wanted).square().sum(), x)
        momentum = momentum + gradient / gradient.abs().sum().clamp_min(1e-300)
        x = x.detach() - settings.step_size_at(eps) * momentum.sign()
        x = torch.max(torch.min(x, source + eps), source - eps).clamp(0, 1)
    return x.detach()


def naive(job, eps):
    """Losses by ordered pair, one image at a time; on the images that every sub-model gets right."""
    members = [member.eval() for member in job.target.ensemble.members]
    losses = {(i, j): [] for i in range(3) for j in range(3)}
    for position, image in enumerate(job.indices.tolist()):
        target, label = job.images[position : position + 1], job.labels[position : position + 1]
        if any(member(target).argmax(1) != label for member in members):
            continue
        source, layer = naive_draw(job, image, members[0].num_layers)
        for i, member in enumerate(members):
            x = naive_distill(member, job.images[source : source + 1], target, layer, eps, job.settings)
            for j, other in enumerate(members):
                losses[i, j].append(F.cross_entropy(other(x), label).item())
    return losses


@pytest.mark.slow
@pytest.mark.usefixtures("unfolded")
def test_diversity_is_that_of_the_naive_loop(make_job):
    job = make_job(PROTOCOL)
    measured = run(job)
    for eps in (0.1, 0.2):
        expected, found = naive(job, eps), measured[measured["eps"] == eps]
        count = len(expected[0, 0])
        assert 10 < count < 30
        assert found.loc[found["name"] == "diversity/images", "value"].tolist() == [count]
        for name, number in (("diversity", "mean"), ("diversity/standard_error", "sem")):
            rows = found[found["name"] == name].set_index(["source_member", "target_member"])["value"]
            assert len(rows) == 9 + 1
            for pair, losses in expected.items():
                assert rows[pair] == pytest.approx(getattr(pd.Series(losses), number)(), rel=1e-9)
            off_diagonal = pd.DataFrame({pair: losses for pair, losses in expected.items() if pair[0] != pair[1]})
            assert rows[-1, -1] == pytest.approx(getattr(off_diagonal.mean(axis=1), number)(), rel=1e-9)
    assert set(measured["step"]) == {3}


def test_the_ensembles_diversity_is_equation_2(make_job):
    job = make_job(PROTOCOL)
    measured = run(job)
    losses = pair_losses(job, draw(job, measured_images(job, job.settings)), 0.2)
    (found,) = measured.query("name == 'diversity' and eps == 0.2 and source_member == -1")["value"]
    assert found == pytest.approx(float(equation_2.diversity(losses)), rel=1e-9)


@pytest.mark.slow
def test_equation_2_is_that_of_the_released_code(tmp_path):
    vectors = golden.vectors()
    job = Job(
        load_protocol("cifar10/diversity").settings,
        LoadedModel(Ensemble(golden.ensemble().members[:2]), SimpleNamespace(id="golden#0")),
        [],
        EvaluationImages(
            torch.arange(16),
            torch.cat([vectors["x"], vectors["x_target"]]),
            torch.cat([torch.zeros(8, dtype=torch.int64), vectors["y_target"]]),
            digest="",
        ),
        store=Store(tmp_path),
        device=torch.device("cpu"),
    )
    draws = Draws(torch.arange(8, 16), torch.arange(8), torch.full((8,), 13))
    found = float(equation_2.diversity(pair_losses(job, draws, 0.07)))
    assert found == pytest.approx(golden.numbers()["eq2_diversity_pair01_layer13"], rel=1e-6)


@pytest.mark.slow
def test_numbers_depend_neither_on_the_batch_size_nor_on_the_workers(make_job, monkeypatch):
    whole = run(make_job(PROTOCOL))
    monkeypatch.setattr(distilled, "BATCH_SIZE", 7)
    pd.testing.assert_frame_equal(run(make_job(PROTOCOL)), whole, rtol=1e-9)
    pd.testing.assert_frame_equal(run(replace(make_job(PROTOCOL), workers=3)), whole, rtol=1e-9)
    pd.testing.assert_frame_equal(run(replace(make_job(PROTOCOL), fitting=Fitting(5))), whole, rtol=1e-9)


def test_draws_belong_to_their_image_and_are_spread_over_layers_and_sources(make_job):
    job = make_job("digits/diversity[images=400]")
    everything = draw(job, torch.arange(400))
    some = draw(job, torch.tensor([7, 300, 2]))
    for column in ("sources", "layers"):
        assert torch.equal(getattr(some, column), getattr(everything, column)[[7, 300, 2]])
    assert everything.layers.unique().tolist() == list(range(1, 9))
    assert everything.layers.bincount(minlength=9)[1:].min() > 25  # 50 expected
    assert 200 < len(everything.sources.unique()) < 300  # 253 expected of 400 draws with repeats
    other = draw(make_job("digits/diversity[images=400,seed=1]"), torch.arange(400))
    assert not torch.equal(other.layers, everything.layers)


def test_a_sample_of_the_images_that_every_sub_model_gets_right(make_job):
    job = make_job(PROTOCOL)
    right = set(measured_images(job, job.settings).tolist())
    few = make_job(f"{PROTOCOL[:-1]},right_images=8]")
    chosen = measured_images(few, few.settings)
    assert len(chosen) == 8 < len(right)
    assert chosen.tolist() == sorted(right & set(chosen.tolist()))
    assert chosen.tolist() != sorted(right)[:8]
    assert run(few).query("name == 'diversity/images'")["value"].tolist() == [8, 8]


def test_one_image_has_no_standard_error(make_job):
    assert set(run(make_job(f"{PROTOCOL[:-1]},right_images=1]"))["name"]) == {"diversity", "diversity/images"}


def test_the_target_must_have_sub_models_with_layers(make_job):
    job = make_job(PROTOCOL)
    single = replace(job, target=replace(job.target, ensemble=Ensemble(job.target.ensemble.members[:1])))
    with pytest.raises(UserError, match="diversity of digits/baseline-3.*: expected at least 2 sub-models, got 1"):
        draw(single, torch.arange(3))
    plain = Ensemble([torch.nn.Flatten(), torch.nn.Flatten()])
    with pytest.raises(UserError, match="expected sub-models with addressable layers, got none"):
        draw(replace(job, target=replace(job.target, ensemble=plain)), torch.arange(3))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diversity", "distillation"])
def test_an_interrupted_measurement_goes_on(kind, trained, digits, tmp_path, interrupt):
    protocol = load_protocol(f"digits/{kind}[images=20,eps=[0.1,0.2],steps=2]")
    whole = read_outcomes(evaluate(protocol, trained[0], [], digits, Store(tmp_path / "whole")))
    store = Store(tmp_path / "cut")
    interrupt(protocol, trained[0], [], digits, store)
    again = read_outcomes(evaluate(protocol, trained[0], [], digits, store))
    pd.testing.assert_frame_equal(again.outcomes, whole.outcomes)
    assert set(again.outcomes["attack"]) == {"clean"}
    timeless = [file.measurements[~file.measurements["name"].str.startswith("time/")] for file in (again, whole)]
    pd.testing.assert_frame_equal(*timeless)
    assert set(again.measurements.loc[again.measurements["name"].str.startswith(kind), "eps"]) == {0.1, 0.2}
