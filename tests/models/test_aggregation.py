"""Aggregations by hand: votes with ties, scores, gradients, and what the attack on each follows."""

from __future__ import annotations

import copy
import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustbench_ens.config.aggregations import AGGREGATIONS
from robustbench_ens.errors import UserError
from robustbench_ens.models.aggregation import Loss, load_aggregation
from robustbench_ens.models.aggregations.majority_vote import majority_vote
from robustbench_ens.models.aggregations.mean_logits import mean_logits
from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.fold import Uncopied, folded
from robustbench_ens.perturb.losses import cross_entropy, cw
from tests import golden


class Linear(nn.Module):
    """Logits ``W x`` of images of one pixel per column of ``W``."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def probabilities(*rows: list[float]) -> Tensor:
    """Logits ``(M, 1, classes)`` of sub-models with these probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log().unsqueeze(1)


@pytest.mark.parametrize(
    ("sub_models", "winner", "mean_softmax_says"),
    [
        # Two: one vote each; class 1 has the higher mean, 0.55 to 0.45.
        ([[0.6, 0.4], [0.3, 0.7]], 1, 1),
        # Two votes for class 0, although class 1 has the higher mean, 0.6 to 0.4.
        ([[0.55, 0.45], [0.55, 0.45], [0.1, 0.9]], 0, 1),
        # One vote each; the means are 0.3667, 0.3, 0.3333.
        ([[0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]], 0, 0),
        # One vote for class 0, one for 1; class 2 has no vote but the highest mean, 0.49: 0 wins, 0.26 to 0.25.
        ([[0.51, 0.0, 0.49], [0.01, 0.5, 0.49]], 0, 2),
        # Two votes for 0, two for 1, one for 2; the means are 0.34, 0.35, 0.31.
        ([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.3, 0.4, 0.3], [0.3, 0.4, 0.3], [0.1, 0.15, 0.75]], 1, 1),
        # Three votes for 2 outweigh two of certainty for 0.
        ([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.32, 0.33, 0.35], [0.32, 0.33, 0.35], [0.32, 0.33, 0.35]], 2, 0),
    ],
)
def test_votes_by_hand(sub_models: list[list[float]], winner: int, mean_softmax_says: int) -> None:
    logits = probabilities(*sub_models)
    logits = logits.clamp_min(-1e4)  # a probability of 0
    assert majority_vote(logits).argmax(dim=1).item() == winner
    assert log_mean_softmax(logits).argmax(dim=1).item() == mean_softmax_says


def test_the_score_of_a_vote_by_hand() -> None:
    """One vote for 0 and one for 1, none for 2."""
    scores = majority_vote(probabilities([0.5, 0.2, 0.3], [0.1, 0.6, 0.3]))
    expected = [math.log(0.3), math.log(0.4), math.log(0.3) - math.log(2 * 3) - 1]
    torch.testing.assert_close(scores, torch.tensor([expected], dtype=torch.float64))


@given(st.integers(1, 6), st.integers(2, 5), st.floats(0.1, 200), st.integers(0, 10_000))
def test_votes_come_first_and_the_mean_probability_second(members: int, classes: int, scale: float, seed: int) -> None:
    """Against the plainest code; float32, where probabilities underflow."""
    logits = scale * torch.randn(members, 8, classes, generator=torch.Generator().manual_seed(seed))
    mean = log_mean_softmax(logits)
    for image, score in enumerate(majority_vote(logits)):
        cast = [int(z.argmax()) for z in logits[:, image]]
        assert int(score.argmax()) == max(range(classes), key=lambda c: (cast.count(c), float(mean[image, c])))
        for c, d in permutations(range(classes), 2):
            assert score[c] > score[d] or cast.count(c) <= cast.count(d)


def test_mean_logits_by_hand() -> None:
    logits = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[-1.0, 1.0]]])
    torch.testing.assert_close(mean_logits(logits), torch.tensor([[1.0, 1.0]]))


MEMBERS = [[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]], [[0.0, 1.0], [1.0, 1.0], [2.0, -1.0]]]
X = torch.tensor([0.3, 0.4], dtype=torch.float64).view(1, 1, 1, 2)
"""Logits are (0.3, 0.8, -0.1) and (0.4, 0.7, 0.2)."""


def gradient(aggregation: str, label: int) -> Tensor:
    """Of the CW loss of what an attack follows."""
    ensemble = Ensemble(map(Linear, MEMBERS), aggregation)
    x = X.clone().requires_grad_()
    values = ensemble.aggregate.objective(ensemble.member_logits(x), torch.tensor([label]), cw)
    (found,) = torch.autograd.grad(values.sum(), x)
    return found.flatten()


def test_the_gradient_of_mean_logits_by_hand() -> None:
    """Mean weights (0.5, 0.5), (0.5, 1.5), (0.5, -0.25); runner-up of 1 is 0."""
    torch.testing.assert_close(gradient("mean_logits", 1), torch.tensor([0.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(gradient("mean_logits", 2), torch.tensor([0.0, 1.75], dtype=torch.float64))


def test_the_gradient_of_a_vote_is_that_of_the_members_mean_cw_margin_by_hand() -> None:
    """Runner-up of 1 is 0 in both: ((1, 0) - (0, 2) + (0, 1) - (1, 1)) / 2; that of 0 and of 2 is 1 in both."""
    torch.testing.assert_close(gradient("majority_vote", 1), torch.tensor([0.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(gradient("majority_vote", 0), torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(gradient("majority_vote", 2), torch.tensor([0.0, 1.75], dtype=torch.float64))


def test_the_gradient_of_mean_softmax_by_hand() -> None:
    """``d log P_c = sum_m p_mc (W_mc - sum_k p_mk W_mk) / sum_m p_mc``, for label 1 and its runner-up 0."""
    p = [torch.softmax(Linear(weight)(X), dim=1)[0].detach() for weight in MEMBERS]
    weights = [torch.tensor(weight, dtype=torch.float64) for weight in MEMBERS]

    def slope(c: int) -> Tensor:
        parts = [q[c] * (w[c] - q @ w) for q, w in zip(p, weights, strict=True)]
        return (parts[0] + parts[1]) / (p[0][c] + p[1][c])

    torch.testing.assert_close(gradient("mean_softmax", 1), slope(0) - slope(1))


@pytest.mark.parametrize("loss", [cw, cross_entropy])
@pytest.mark.parametrize("members", [2, 5])
def test_what_attacks_on_a_vote_follow_is_the_members_mean_loss(members: int, loss: Loss) -> None:
    logits = 5 * torch.randn(members, 40, 4, generator=torch.Generator().manual_seed(members))
    labels = torch.arange(40) % 4
    values = load_aggregation("majority_vote").objective(logits, labels, loss)
    torch.testing.assert_close(values, sum(loss(own, labels) for own in logits) / members)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_attacks_follow_the_loss_of_the_scores_unless_an_aggregation_states_something_else(name: str) -> None:
    own = load_aggregation(name)
    logits = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    same = torch.equal(own.objective(logits, labels, cw), cw(own.scores(logits), labels))
    assert same == own.follows_scores == (name not in ("majority_vote", "random_member"))


def test_a_random_sub_model_by_hand() -> None:
    """Probabilities 0.2 of (0.5, 0.5) and 0.8 of (0.25, 0.75)."""
    own = load_aggregation("random_member", 2, (0.2, 0.8))
    logits = probabilities([0.5, 0.5], [0.25, 0.75])
    torch.testing.assert_close(own.scores(logits).exp(), torch.tensor([[0.3, 0.7]], dtype=torch.float64))
    values = own.objective(logits, torch.tensor([1]), cross_entropy)
    torch.testing.assert_close(values, torch.tensor([-0.2 * math.log(0.5) - 0.8 * math.log(0.75)], dtype=torch.float64))
    equal = load_aggregation("random_member", 2)
    assert equal.chances == (0.5, 0.5)
    torch.testing.assert_close(equal.scores(logits), log_mean_softmax(logits))


@pytest.mark.parametrize(
    ("label", "chances", "beaten"),
    [(0, (), [False]), (1, (), [False]), (2, (), [True]), (0, (0.0, 1.0), [True]), (1, (0.0, 1.0), [False])],
)
def test_a_random_sub_model_is_beaten_if_none_that_may_answer_is_right(
    label: int, chances: tuple, beaten: list
) -> None:
    logits = probabilities([0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
    found = load_aggregation("random_member", 2, chances).beaten(logits, torch.tensor([label]))
    assert found.tolist() == beaten
    # The others are beaten if the highest score is of another class.
    assert load_aggregation("mean_softmax").beaten(logits, torch.tensor([label])).tolist() == [label != 1]


def test_crossmax_by_hand() -> None:
    """Minus (2, 4, 1): (0, -1, -2), (-4, 0, -2), (0, -1, 0); minus (0, 0, 0); the medians are 0, -1, -2."""
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 4.0, 2.0], [1.0, 0.0, 1.0]]).unsqueeze(1)
    assert load_aggregation("crossmax").scores(logits).tolist() == [[0.0, -1.0, -2.0]]


@pytest.mark.parametrize("members", [3, 4, 8, 10])
def test_crossmax_is_that_of_the_released_code(members: int) -> None:
    """The released notebook takes the third largest of eight, the paper the median; an even number has a lower one."""
    given = golden.crossmax()
    logits = given[f"m{members}_logits"].clone().requires_grad_()
    scores = load_aggregation("crossmax").scores(logits)
    torch.testing.assert_close(scores, given[f"m{members}_median"], rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(cross_entropy(scores, given[f"m{members}_labels"]).sum(), logits)
    torch.testing.assert_close(gradient, given[f"m{members}_median_ce_grad"], rtol=0, atol=1e-9)


def test_an_aggregation_that_needs_more_sub_models_is_refused() -> None:
    with pytest.raises(UserError, match="expected at least 2 sub-models for aggregation 'crossmax', got 1"):
        Ensemble([Linear(MEMBERS[0])], "crossmax")


def test_another_aggregation_shares_the_sub_models_and_their_mode() -> None:
    ensemble = Ensemble(map(Linear, MEMBERS)).eval()
    other = ensemble.aggregated("mean_logits")
    assert ensemble.aggregation == "mean_softmax"
    assert other.aggregation == "mean_logits"
    assert list(other.members) == list(ensemble.members)
    assert not any(module.training for module in (*ensemble.modules(), *other.modules()))
    assert ensemble.state_dict().keys() == other.state_dict().keys()


def test_one_sub_model_predicts_the_same_under_each() -> None:
    x = torch.rand(20, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = Linear(MEMBERS[0])(x).argmax(dim=1)
    for aggregation in (name for name, facts in AGGREGATIONS.items() if facts.fewest_sub_models == 1):
        assert torch.equal(Ensemble([Linear(MEMBERS[0])], aggregation)(x).argmax(dim=1), own)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_copies_keep_the_aggregation(aggregation: str) -> None:
    ensemble = golden.ensemble().aggregated(aggregation)
    x = golden.vectors()["x"]
    for copied in (folded(ensemble, x), copy.deepcopy(ensemble)):
        assert copied.aggregation == aggregation
        torch.testing.assert_close(copied(x), ensemble(x), rtol=0, atol=1e-6)


def test_an_unknown_aggregation_is_told_the_valid_ones() -> None:
    with pytest.raises(UserError, match="expected one of mean_softmax, .*, or package.module:Name, got 'mean'"):
        Ensemble([], "mean")


def test_a_model_that_cannot_be_copied_is_used_itself() -> None:
    class Locked(Linear):
        def __deepcopy__(self, memo: object) -> Locked:
            raise RuntimeError("no")

    model = Ensemble(map(Locked, MEMBERS), "majority_vote").train()
    fast = folded(model, X)
    assert fast.aggregation == "majority_vote"
    assert isinstance(fast.members[0], Uncopied)
    torch.testing.assert_close(fast(X), model(X))
    torch.testing.assert_close(fast.members[0](X), model.members[0](X))
    fast.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
