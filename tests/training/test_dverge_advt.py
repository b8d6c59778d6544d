import pytest
import torch
from torch.nn import functional as F

from robustbench_ens.config.methods import PgdSettings
from robustbench_ens.training.advt import adversarial_batch
from robustbench_ens.training.dverge import diversification_losses
from robustbench_ens.training.dverge_advt import DvergeAdvT
from tests.training.test_dverge import context, images, tiny

PGD = PgdSettings(eps=0.1, step_size=0.05, steps=2, craft_batch_norm="running")


@pytest.mark.parametrize("members", [2, 5])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_equation_6_by_its_parts(members, weight):
    """The loss of f_i on the image distilled from f_j with the source's label; delta crafted on f_i alone."""
    batch, source = images(1), images(2)
    method = DvergeAdvT(eps=0.1, steps=2, distill_batch_norm="running", diversification_weight=weight, adversarial=PGD)
    ensemble = tiny(members)
    terms = method(ensemble, batch, context(source))
    other = tiny(members)
    _, distilled = method.distilled(other, batch, context(source))
    crafted = [
        adversarial_batch(member, source, PGD, context(source), f"start {i}") for i, member in enumerate(other.members)
    ]
    diversification = weight * diversification_losses(other, distilled, source.labels).sum()
    adversarial = sum(
        F.cross_entropy(member(x), source.labels) for member, x in zip(other.members, crafted, strict=True)
    )
    assert terms["diversification"].item() == pytest.approx(diversification.item(), rel=1e-9)
    assert terms["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-9)


def test_both_terms_reach_every_sub_model():
    ensemble = tiny(3)
    method = DvergeAdvT(eps=0.1, steps=2, adversarial=PGD)
    for name in ("diversification", "adversarial"):
        terms = method(ensemble, images(1), context(images(2)))
        ensemble.zero_grad()
        terms[name].backward()
        assert all(torch.count_nonzero(member.model.fc.weight.grad) for member in ensemble.members)
