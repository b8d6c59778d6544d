"""A loaded target or surrogate: a model and its record."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.weights.origin import GIVEN
from robustbench_ens.weights.record import EnsembleRecord


@dataclass(frozen=True)
class LoadedModel:
    """A trained ensemble or an external model, with its record. An external model may have no sub-models.

    ``origin`` is the origin of the weights; see :mod:`robustbench_ens.weights.origin`.
    """

    ensemble: Ensemble
    record: EnsembleRecord
    origin: str = GIVEN
