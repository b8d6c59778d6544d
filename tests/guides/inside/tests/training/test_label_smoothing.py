import pytest
import torch

from robustbench_ens.training.label_smoothing import LabelSmoothing, smoothed_cross_entropy
from robustbench_ens.training.method import Context
from tests.training.test_dverge import images, tiny


def test_the_loss_of_a_hand_computed_case():
    logits = torch.tensor([[0.0, 2.0]]).log_softmax(dim=1)
    expected = -(0.9 * logits[0, 1] + 0.1 * logits.mean())
    torch.testing.assert_close(smoothed_cross_entropy(logits, torch.tensor([1]), 0.1), expected)


@pytest.mark.parametrize("members", [2, 5])
def test_the_loss_is_the_sum_over_sub_models(members):
    ensemble, batch = tiny(members), images(1)
    terms = LabelSmoothing(share=0.2)(ensemble, batch, Context("a/0", 0, 0, lambda: images(2)))
    expected = sum(smoothed_cross_entropy(member(batch.images), batch.labels, 0.2) for member in ensemble.members)
    torch.testing.assert_close(terms["cross_entropy"], expected)
