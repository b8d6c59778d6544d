import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustbench_ens.perturb.gradient import check_budget
from robustbench_ens.perturb.plane import adversarial_direction, coefficients, plane, rademacher_direction


class Linear(nn.Module):
    """Logits ``(0, w . x)``."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(w, dtype=torch.float64))

    def forward(self, x):
        z = x.flatten(1) @ self.w
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_the_adversarial_direction_of_a_linear_model_is_the_sign_of_its_weights():
    image = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    model = Linear([3.0, -0.1, 0.0, 2.0])
    assert adversarial_direction(model, image, 0).flatten().tolist() == [1, -1, 0, 1]
    assert adversarial_direction(model, image, 1).flatten().tolist() == [-1, 1, 0, -1]
    assert image.eq(0.5).all()
    assert model.w.grad is None


def test_a_random_direction_belongs_to_its_key():
    first = rademacher_direction((3, 8, 8), 0, 17)
    assert first.unique().tolist() == [-1, 1]
    assert abs(float(first.mean())) < 0.3
    assert torch.equal(rademacher_direction((3, 8, 8), 0, 17), first)
    for key in ((0, 18), (1, 17)):
        assert not torch.equal(rademacher_direction((3, 8, 8), *key), first)


@pytest.mark.parametrize("grid", [3, 5, 41])
def test_the_middle_of_the_line_is_the_image(grid):
    line = coefficients(0.3, grid)
    assert len(line) == grid
    assert line[grid // 2] == 0
    assert (float(line[0]), float(line[-1])) == pytest.approx((-0.3, 0.3))
    assert torch.equal(line, -line.flip(0))


def test_points_of_the_plane_by_hand():
    image = torch.tensor([[[0.5, 0.9]]])
    up, across = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, -1.0]]])
    points = plane(image, up, across, torch.tensor([0.0, 0.2, 0.2, -0.6]), torch.tensor([0.0, 0.0, -0.1, 0.0]))
    expected = torch.tensor([[0.5, 0.9], [0.7, 1.0], [0.6, 1.0], [0.0, 0.3]])
    assert torch.allclose(points.flatten(1), expected, atol=1e-6)


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 50))
def test_a_point_is_within_the_sum_of_its_coefficients(row, column, seed):
    image = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(seed))
    directions = rademacher_direction((1, 4, 4), "a", seed), rademacher_direction((1, 4, 4), "b", seed)
    point = plane(image, *directions, torch.tensor([row]), torch.tensor([column]))
    check_budget(point, image.unsqueeze(0), abs(row) + abs(column))
