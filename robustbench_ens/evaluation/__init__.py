"""Evaluations of targets by protocols: one module per kind, all through one harness."""

from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.evaluation.tables import no_outcomes

__all__ = ["Evaluation", "Job", "Part", "Survivors", "no_outcomes"]
