"""Attacks of other libraries: each library has a file here, and is imported when one of its attacks is named."""

from robustbench_ens.perturb.libraries.adversary import adversary, check_installed
from robustbench_ens.perturb.libraries.order import Order

__all__ = ["Order", "adversary", "check_installed"]
