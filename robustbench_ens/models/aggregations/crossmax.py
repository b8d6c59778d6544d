"""CrossMax (arXiv:2408.05446): a median of normalised logits, whose gradient misleads attacks. Known to be broken."""

from __future__ import annotations

from torch import Tensor

from robustbench_ens.models.aggregation import Aggregation, own_facts


def crossmax(logits: Tensor) -> Tensor:
    """Return the median over sub-models of doubly normalised logits, ``(M, B, classes)`` to ``(B, classes)``.

    ``a_mc = z_mc - max_j z_mj`` makes sub-models comparable, and then ``b_mc = a_mc - max_k a_kc`` makes classes
    comparable (Algorithm 1). The answer is the median of ``b`` over sub-models, the lower one if their number is even.
    It passes the gradient of a single sub-model for each class, so that attacks that follow it ignore the others.
    """
    by_member = logits - logits.amax(dim=-1, keepdim=True)
    by_class = by_member - by_member.amax(dim=0, keepdim=True)
    return by_class.median(dim=0).values


class CrossMax(Aggregation):
    """CrossMax, a control: a benchmark that does not beat it would not detect a masked gradient."""

    facts = own_facts("crossmax")

    def scores(self, logits: Tensor) -> Tensor:
        """Return scores ``(B, classes)``, at most 0, as :func:`crossmax` does."""
        return crossmax(logits)
