from dataclasses import replace

import pytest
import torch

from robustbench_ens.models.aggregations.mean_logits import mean_logits
from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.attack import Draws, Pool, Problem
from robustbench_ens.perturb.attacks.mora import (
    SCHEDULES,
    Mora,
    gap,
    gap_scale,
    likeliest_other,
    mixed,
    odds_of,
    paper_weights,
    reference,
    released_weights,
)
from robustbench_ens.perturb.attacks.mora_targeted import ranked_other
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden
from tests.perturb.attacks.toys import IMAGES, LABELS, MIXED, Linear, run

VECTORS = golden.mora()
ANSWERS = {"softmax": log_mean_softmax, "logits": mean_logits}
RUNS = sorted({name.removesuffix("_right_after") for name in VECTORS if name.endswith("_right_after")})
SMALLER = 1.9e-8
"""By how much the released code lowers eps."""


def exactly(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def given(pattern):
    """Outputs of the members and the ensemble, and the labels."""
    logits = VECTORS["given_logits"]
    outputs = torch.cat([logits, ANSWERS[pattern](logits).unsqueeze(0)])
    return outputs, VECTORS[f"given_y_{pattern}"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 10])
def test_step_sizes(schedule, steps):
    sizes = [SCHEDULES[schedule](8 / 255 - SMALLER, step, steps) for step in range(steps)]
    exactly(torch.tensor(sizes, dtype=torch.float64), VECTORS[f"step_size_{schedule}_n{steps}"])


@pytest.mark.parametrize("pattern", ANSWERS)
def test_scale_and_reference(pattern):
    outputs, _ = given(pattern)
    scale = gap_scale(outputs)
    exactly(scale, VECTORS[f"given_{pattern}_gap_scale"])
    exactly(reference(outputs[:-1], scale), VECTORS[f"given_{pattern}_reference_probability"])
    exactly(gap(outputs[-1]), VECTORS[f"given_{pattern}_ensemble_gap"])


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("pattern", ANSWERS)
def test_weights(pattern, temperature):
    outputs, labels = given(pattern)
    mean = reference(outputs[:-1], gap_scale(outputs))
    odds = odds_of(outputs, mean, labels, likeliest_other(mean, labels), temperature)
    exactly(released_weights(odds), VECTORS[f"given_{pattern}_t{temperature}_weight"])
    published = VECTORS.get(f"given_{pattern}_t{temperature}_weight_positive_form")
    if published is not None:
        exactly(paper_weights(odds), published)


OBJECTIVES = [name for name in VECTORS if name.endswith("_objective_logits")]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mixed_logits_and_their_loss(name):
    pattern, temperature, mix = name.removeprefix("given_").removesuffix("_objective_logits").split("_")
    outputs, labels = given(pattern)
    kept = VECTORS[f"given_{pattern}_member_right"] if pattern == "softmax" else 1
    logits = mixed(outputs, gap_scale(outputs), VECTORS[f"given_{pattern}_{temperature}_weight"] * kept, float(mix[3:]))
    exactly(logits, VECTORS[name])
    exactly(cross_entropy(logits, labels), VECTORS[name.replace("objective_logits", "loss")])


class Replayed(Mora):
    """The released form from the stored start, which keeps what each step computed."""

    weigh = staticmethod(released_weights)

    def __init__(self, problem):
        super().__init__(problem)
        self.seen = {name: [] for name in ("points", "weight", "member_right", "loss", "grad_l1")}

    def start(self):
        return VECTORS["start_t"].double() / 127

    def weights(self, outputs):
        scale, weights = super().weights(outputs)
        self.seen["weight"].append(weights)
        self.seen["member_right"].append(outputs.argmax(dim=-1) == self.problem.labels)
        return scale, weights

    def loss(self, logits):
        found = super().loss(logits)
        self.seen["loss"].append(found.detach())
        return found

    def look(self, images):
        self.seen["points"].append(images)
        look, wrong = super().look(images)
        self.seen["grad_l1"].append(look.gradient.abs().sum(dim=(1, 2, 3)))
        return look, wrong


def replay(name):
    """Run what the name of a run states, on images of 32 pixels; returns the attack and its images."""
    _, pattern, eps, schedule, temperature, mix = name.split("_")
    settings = {"schedule": schedule, "temperature": float(temperature[1:]), "sweep": (float(mix[3:]),)}
    radius = 8 / 255 if eps == "eps0.031" else float(eps[3:])
    ensemble = golden.shifted_ensemble().aggregated({"softmax": "mean_softmax", "logits": "mean_logits"}[pattern])
    images, labels = golden.vectors()["x"], VECTORS["y_attack"]
    problem = Problem(
        images,
        labels,
        scores=ensemble,
        loss=cross_entropy,
        eps=radius - SMALLER,
        step_size=0.0,
        steps=5,
        draws=Draws((0,), range(len(images))),
        pool=Pool(images, labels),
        members=list(ensemble.members),
    )
    attack = type("Run", (Replayed,), settings)(problem)
    return attack, attack.run()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_runs(name):
    """Images that are wrong as they are, are not attacked there; here they are judged at the start."""
    attack, found = replay(name)
    expected = {key.removeprefix(f"{name}_"): value for key, value in VECTORS.items() if key.startswith(name)}
    steps = len(attack.seen["loss"])
    attacked = expected["attacked"][:steps] == 1
    for key in ("loss", "grad_l1"):
        exactly(torch.stack(attack.seen[key])[attacked], expected[key][:steps][attacked])
    for key in ("weight", "member_right"):
        seen = torch.stack(attack.seen[key]).double().transpose(1, 2)
        exactly(seen[attacked], expected[key][:steps].double().transpose(1, 2)[attacked])
    deltas = torch.stack([*attack.seen["points"][1:], found]) - golden.vectors()["x"]
    exactly(deltas.abs().sum(dim=(2, 3, 4))[attacked], expected["delta_l1"][:steps][attacked])
    first, last = int(expected["first_index"]), int(expected["last_step"])
    exactly(deltas[0, first], expected["x_step1_first"])
    exactly(deltas[last, expected["last_attacked_index"][:2]], expected["last_delta"])


def problem_of(model, restart=0, **changes):
    given = {"loss": cross_entropy, "eps": 0.1, "step_size": 0.0, "steps": 3} | changes
    draws, pool = Draws((0, restart), range(len(IMAGES))), Pool(IMAGES, LABELS)
    return Problem(IMAGES, LABELS, scores=model, draws=draws, pool=pool, members=[model], **given)


def test_restarts_are_the_sweep():
    mixes = [Mora(problem_of(Linear(MIXED), restart)).mix for restart in range(6)]
    assert mixes == [0.5, 0.0, 0.25, 0.75, 1.0, 0.5]


def test_an_image_rests_where_it_was_beaten():
    """Class 0 always wins: images of class 1 are beaten at the start, those of class 0 never."""
    begin = (IMAGES + 0.05 * MIXED.reshape(1, 1, 4, 4)).clamp(0, 1)
    found = run(Linear(MIXED, bias=9.0), attack="mora", begin=begin)
    torch.testing.assert_close(found[LABELS == 1], begin[LABELS == 1])
    assert not torch.isclose(found[LABELS == 0], begin[LABELS == 0]).all()


def test_what_errs_is_masked_where_probabilities_are_averaged():
    members = [Linear(MIXED, bias=bias) for bias in (9.0, -9.0, 12.0)]
    for aggregation, expected in (("mean_softmax", [True, False, True, True]), ("mean_logits", [True] * 4)):
        attack = Mora(replace(problem_of(Ensemble(members, aggregation)), members=members))
        outputs = attack.outputs(IMAGES)
        assert attack.kept(outputs)[:, LABELS == 0].T.tolist() == [expected] * 5
    assert not outputs.isnan().any()


def test_all_count_where_all_err():
    attack = Mora(problem_of(Linear(MIXED, bias=9.0)))
    assert attack.kept(attack.outputs(IMAGES)).all()


def test_a_tie_of_the_answer_leaves_a_gradient_that_is_finite():
    attack = Mora(problem_of(Linear(0 * MIXED)))
    look, _ = attack.look(IMAGES)
    assert torch.isfinite(look.gradient).all()


SCORES = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.4, 0.1, 0.3, 0.2]])


def test_targets_are_the_wrong_classes_by_turns():
    found = [ranked_other(SCORES, torch.tensor([1, 2]), rank).tolist() for rank in range(4)]
    assert found == [[3, 0], [2, 3], [0, 1], [3, 0]]


class Three(torch.nn.Module):
    """Class 0 on top; class 1 rises with the pixels of the left half, class 2 with those of the right."""

    def forward(self, images):
        left, right = images[..., :2].sum(dim=(1, 2, 3)), images[..., 2:].sum(dim=(1, 2, 3))
        return torch.stack([torch.full_like(left, 40.0), left + 1, right], dim=1)


@pytest.mark.parametrize(("restart", "half"), [(0, 0), (1, 1)])
def test_each_restart_moves_towards_its_target(restart, half):
    images = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    labels = torch.zeros(2, dtype=torch.int64)
    found = run(Three(), images, labels, range(2), attack="mora_targeted", start_key=(0, restart))
    torch.testing.assert_close(found[..., 2 * half : 2 * half + 2], torch.full((2, 1, 4, 2), 0.6, dtype=torch.float64))
