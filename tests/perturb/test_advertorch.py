import pytest
import torch

from robustbench_ens.perturb import advertorch
from robustbench_ens.perturb.gradient import frozen, momentum, perturb, plain
from robustbench_ens.perturb.losses import cross_entropy
from tests import golden

SETTINGS = {"eps": 0.03, "nb_iter": 6, "eps_iter": 0.006}


def test_zero_gradients():
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    advertorch.zero_gradients(weight)
    advertorch.zero_gradients([weight, torch.ones(1)])
    assert weight.grad.tolist() == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "extra", "treatment"),
    [
        ("LinfPGDAttack", {"rand_init": False}, plain),
        ("LinfMomentumIterativeAttack", {"decay_factor": 1.0}, momentum(1.0)),
    ],
)
def test_its_attacks_run_and_agree_with_ours_image_by_image(name, extra, treatment):
    """In float64 from the same start. advertorch sums the loss over images, and so do we."""
    ensemble, vectors = golden.ensemble(), golden.vectors()
    x, y = vectors["x"][:4], vectors["y"][:4]
    attack = getattr(advertorch.attacks(), name)(
        ensemble, loss_fn=torch.nn.CrossEntropyLoss(reduction="sum"), **SETTINGS, **extra
    )
    theirs = attack.perturb(x, y)
    with frozen(ensemble):
        ours = perturb(
            x, lambda z: cross_entropy(ensemble(z), y), eps=0.03, step_size=0.006, steps=6, treatment=treatment
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
