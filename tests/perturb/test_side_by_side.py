import pytest
import torch

from robustbench_ens.core.parallel import pool
from robustbench_ens.perturb.gradient import frozen
from robustbench_ens.perturb.side_by_side import member_logits
from tests.training.test_dverge import images, tiny


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("members", [1, 3])
def test_logits_and_input_gradient_are_those_of_one_pass_after_another(workers, members):
    ensemble, x = tiny(members), images(1).images
    weights = torch.randn(members, len(x), 10, dtype=x.dtype, generator=torch.Generator().manual_seed(0))

    def run(logits):
        moved = x.clone().requires_grad_(True)
        found = logits(moved)
        weight = weights[..., : found.shape[-1]]
        return found.detach(), torch.autograd.grad((found.square() * weight).sum(), moved)[0]

    ensemble.eval()
    with frozen(ensemble), pool(workers) as threads:
        beside = run(lambda moved: member_logits(moved, ensemble.members, threads.map))
        after = run(ensemble.member_logits)
    for one, other in zip(beside, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
        assert one.abs().max() > 0


def test_a_second_derivative_is_refused():
    ensemble, batch = tiny(2), images(1)
    moved = batch.images.clone().requires_grad_(True)
    with frozen(ensemble):
        logits = member_logits(moved, ensemble.members, map)
        (gradient,) = torch.autograd.grad(logits.square().sum(), moved, create_graph=True)
        with pytest.raises(RuntimeError):
            torch.autograd.grad(gradient.sum(), moved)
