import pytest
import torch
from torch import nn

from robustbench_ens.config.attacks import ATTACKS
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.perturb.attack import Pool
from robustbench_ens.perturb.losses import cross_entropy
from robustbench_ens.perturb.precision import at_precision
from tests.crafting import craft_by

IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(6, dtype=torch.int64)
POOL = Pool(IMAGES, torch.arange(6))
SETTINGS = {"loss": "cross_entropy", "eps": 0.1, "step_size": 0.02, "steps": 5, "start_key": (0, 0), "pool": POOL}


def ensemble():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ensemble([ResNet(8, channels=1, width=4) for _ in range(2)]).eval()


class Sure(nn.Module):
    """Gives class 0 a probability of about ``1 - exp(-9)``."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 2, bias=False)
        nn.init.zeros_(self.head.weight)
        self.head.weight.data[0] = 9 / 32

    def forward(self, x):
        return self.head(x.flatten(1))


def test_fp32_is_the_model_itself():
    model = ensemble()
    assert at_precision(model, "fp32") is model


@pytest.mark.parametrize("model", [Sure(), Ensemble([Sure(), Sure()])], ids=["network", "ensemble"])
def test_a_sure_answer_keeps_its_gradient(model):
    """In bf16 the probability of its class would be 1, and the gradient of its cross-entropy 0."""
    images = torch.full((3, 1, 8, 8), 0.5, requires_grad=True)
    fast = at_precision(model, "bf16")
    loss = cross_entropy(fast(images), LABELS[:3])
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    assert loss.dtype == torch.float32
    assert (loss > 1e-5).all()
    assert (gradient < 0).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_bf16_crafts_other_images_as_good_as_fp32s(attack):
    model = ensemble()
    crafted = {
        precision: craft_by(model, IMAGES, LABELS, range(6), attack=attack, precision=precision, **SETTINGS)
        for precision in ("fp32", "bf16")
    }
    # These settle by verdicts on images, which rounding seldom turns.
    if attack not in ("apgd", "square", "mora", "mora_targeted", "arc"):
        assert not torch.equal(crafted["fp32"], crafted["bf16"])
    assert crafted["bf16"].dtype == torch.float32
    with torch.no_grad():
        clean = cross_entropy(model(IMAGES), LABELS).mean()
        wide, narrow = (cross_entropy(model(crafted[name]), LABELS).mean() for name in ("fp32", "bf16"))
    if attack == "mora":  # maximises another loss, and rests where the model errs, as this one does at once
        assert abs(narrow - wide) < 0.01
    else:
        assert narrow - clean > 0.9 * (wide - clean) > 0
    assert not any(hasattr(member, "model") and not isinstance(member, ResNet) for member in model.members)
