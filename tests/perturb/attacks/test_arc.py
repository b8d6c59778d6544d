"""ARC against the released code's numbers, and by hand on linear networks."""

import pytest
import torch

from robustbench_ens.models.aggregation import load_aggregation
from robustbench_ens.perturb.attack import Draws, Pool, Problem
from robustbench_ens.perturb.attacks.arc import Arc, Boundary, local_step, nearest_boundary
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden
from tests.perturb.attacks.toys import POSITIVE, Linear, run

SKEWED = (0.25, 0.45, 0.30)
EVERY, TWO = slice(4), slice(1, 3)
CASES = {
    "linf_eps0.0020_pskewed_g-1_zero_it1": (0.5 / 255, SKEWED, 1, {}, EVERY),
    "linf_eps0.0020_pskewed_g-1_zero_it4": (0.5 / 255, SKEWED, 4, {}, slice(1)),
    "linf_eps0.0020_puniform_g-1_random_it4": (0.5 / 255, (), 4, {"noise": True}, TWO),
    "linf_eps0.0020_pskewed_g2_zero_it4": (0.5 / 255, SKEWED, 4, {"rivals": 2}, slice(2, 4)),
    "linf_eps0.0078_puniform_g-1_zero_it2": (2 / 255, (), 2, {}, TWO),
}
"""By stored name: eps, probabilities, steps, settings, and which images, for each is attacked by itself."""


class Golden(Arc):
    as_released, noise = True, False
    rows = EVERY

    def start(self):
        noise = golden.arc()["start_u"][self.rows].double() / 127
        return noise if self.noise else torch.zeros_like(self.problem.images)


def attacked(class_, images, labels, members, eps, steps, chances=(), step_size=None):
    draws, pool = Draws((0,), range(len(images))), Pool(images, labels)
    step_size = eps / 4 if step_size is None else step_size
    rest = (members[0], cross_entropy, eps, step_size, steps, draws, pool, members)
    aggregation = load_aggregation("random_member", len(members), chances)
    return class_(Problem(images, labels, *rest, aggregation=aggregation)).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_released_numbers(name):
    eps, chances, steps, changes, rows = CASES[name]
    vectors, images, members = golden.arc(), golden.vectors()["x"][rows], golden.shifted_ensemble().members
    class_ = type("One", (Golden,), {**changes, "rows": rows})
    found = attacked(class_, images, vectors["labels"][rows], members, eps, steps, chances)
    torch.testing.assert_close(found - images, vectors[f"{name}_delta"][rows], rtol=0, atol=1e-9)
    right = torch.stack([member(found).argmax(dim=1) == vectors["labels"][rows] for member in members])
    assert torch.equal(right, vectors[f"{name}_member_right"][:, rows].bool())


GREY = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
CLASS_0 = torch.tensor([0])


class FromGrey(Arc):
    """Starts at the clean image."""

    def start(self):
        return torch.zeros_like(self.problem.images)


def away(weight, gap):
    """A network with the logits ``gap`` and 0 at the grey image, whose first logit has the gradient ``weight``."""
    return Linear(weight / 1.25, bias=gap - 0.5 * float(weight.sum()))


def test_the_nearest_boundary_of_a_linear_network():
    found = nearest_boundary(away(-POSITIVE, 0.2), GREY)
    torch.testing.assert_close(found.distance, 0.2 / POSITIVE.sum().view(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.normal, (POSITIVE / POSITIVE.sum()).view(1, 1, 4, 4))
    assert found.predicted.tolist() == [0]
    flat = nearest_boundary(lambda x: torch.cat([1 + 0 * x.flatten(1)[:, :1], 0 * x.flatten(1)[:, :2]], dim=1), GREY)
    assert flat.distance.tolist() == [torch.inf]
    assert not flat.normal.any()


def test_a_local_step_by_hand():
    """Two pixels: one asked for before, and the other's boundary at 0.5; beta = 1 / (1 - 0.5) * |0.5 - 0.25| + 0.3."""
    moved = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    normal = torch.tensor([-0.5, -0.75]).view(1, 1, 1, 2)
    near, far = (Boundary(torch.tensor([distance]), normal, CLASS_0) for distance in (0.5, 1.0))
    torch.testing.assert_close(local_step(near, moved, 1.0, 0.3).flatten(), torch.tensor([0.2 / 1.8, -1.0]))
    torch.testing.assert_close(local_step(far, moved, 1.0, 0.3).flatten(), torch.tensor([0.0, -1.0]))
    assert not local_step(far, 0 * moved, 0.0, 0.0).any()


@pytest.mark.parametrize(("chances", "beaten"), [((), 1), ((0.6, 0.4), 0), ((0.4, 0.6), 1)])
def test_the_likeliest_of_two_that_ask_for_opposite_moves_is_beaten(chances, beaten):
    """Their mean has no gradient at all, so that a mean loss would move nothing. Of equals, the last is beaten."""
    members = [away(POSITIVE, 0.2), away(-POSITIVE, 0.2)]
    found = attacked(FromGrey, GREY, CLASS_0, members, 0.1, 8, chances)
    assert [int(member(found).argmax()) for member in members] == [1 - beaten, beaten]


def test_two_that_can_be_beaten_together_are():
    first, second = torch.ones(16, dtype=torch.float64), torch.ones(16, dtype=torch.float64)
    first[8:], second[:8] = 0, 0
    members = [away(first, 0.4), away(second, 0.4)]
    found = attacked(FromGrey, GREY, CLASS_0, members, 0.1, 8)
    assert [int(member(found).argmax()) for member in members] == [1, 1]


def test_the_start_is_scored_and_a_member_that_errs_is_left_alone():
    """Released, the clean image's 0 of 1 would stand for the start, and the member that errs be set right."""
    members = [away(-POSITIVE, -0.4)]
    assert torch.equal(attacked(FromGrey, GREY, CLASS_0, members, 0.1, 8), GREY)

    class Bad(Arc):
        def start(self):
            return -torch.ones_like(self.problem.images)

    found = attacked(Bad, GREY, CLASS_0, members, 0.1, 8)
    assert int(members[0](found).argmax()) == 1


def test_sampled_expectation_follows_the_mean_of_ten_looks():
    """A model that answers by one of two opposite networks in turn, so that ten looks see each five times."""
    members, asked = [away(POSITIVE, 0.2), away(-2 * POSITIVE, 0.2)], []

    class InTurn(Linear):
        def forward(self, x):
            asked.append(len(x))
            return members[len(asked) % 2](x)

    found = run(InTurn(POSITIVE), GREY, CLASS_0, [0], attack="eot_pgd", loss="cw", steps=4, step_size=0.05)
    assert len(asked) >= 40
    # The second has twice the gradient: its first logit falls towards brighter pixels.
    torch.testing.assert_close(found, GREY + 0.1)
