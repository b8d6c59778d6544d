"""PGD (arXiv:1706.06083): the sign of the gradient, from a random start."""

from __future__ import annotations

from robustbench_ens.perturb.attack import GradientAttack, own_facts


class Pgd(GradientAttack):
    """Follow the gradient itself: ``x <- project(x + step_size * sign(gradient))``."""

    facts = own_facts("pgd")
