"""EoT-PGD (arXiv:1707.07397): the mean gradient of several looks, for models that answer at random."""

from __future__ import annotations

from robustbench_ens.perturb.attack import own_facts
from robustbench_ens.perturb.attacks.pgd import Pgd


class EotPgd(Pgd):
    """PGD on the expected loss, estimated from ten looks per step: ``mean_i grad J(model_i(x))``.

    ``model_i`` is the model at its i-th answer. A model that draws nothing gives the same gradient each time. If it is
    known what is drawn, as of a random sub-model, the expectation is a sum, and PGD follows it without sampling.
    """

    facts = own_facts("eot_pgd")
    copies = 10
