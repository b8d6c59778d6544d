"""What is attacked, or crafted on: a model and its record."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.weights.origin import GIVEN
from robustbench_ens.weights.record import EnsembleRecord


@dataclass(frozen=True)
class LoadedModel:
    """A trained ensemble and what it is; or a model of one's own, which may have no sub-models.

    ``origin`` is where an ensemble's weights come from; see :mod:`robustbench_ens.weights.origin`.
    """

    ensemble: Ensemble
    record: EnsembleRecord
    origin: str = GIVEN
