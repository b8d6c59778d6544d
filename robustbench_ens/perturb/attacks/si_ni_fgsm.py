"""SI-NI-FGSM (arXiv:1908.06281): the scaled copies of SIM at the point ahead of NI-FGSM."""

from __future__ import annotations

from robustbench_ens.perturb.attack import own_facts
from robustbench_ens.perturb.attacks.ni_fgsm import NiFgsm
from robustbench_ens.perturb.attacks.sim import Sim


class SiNiFgsm(NiFgsm, Sim):
    """NI-FGSM whose gradient is the mean over the copies of SIM."""

    facts = own_facts("si_ni_fgsm")
