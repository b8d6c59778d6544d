"""The origin of weights, in words that outcomes keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robustbench_ens.weights.record import EnsembleRecord

if TYPE_CHECKING:
    from torch import nn

PUBLISHED = "published"
TRAINED = "trained here"
IMPORTED = "imported"
GIVEN = "given"
"""Of a model that was not loaded from here."""


class Origin(NamedTuple):
    """Where the weights of a loaded ensemble come from.

    Attributes:
        kind: ``published``, ``trained here`` or ``imported``.
        folder: where they lie.
    """

    kind: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.kind}, {self.folder}"


def facts_of(model: nn.Module) -> dict[str, str]:
    """Return where the weights of any model come from, as plain values.

    ``origin`` is that of a loaded ensemble, or ``given``; where the weights are others by now, it says so. A loaded
    ensemble has ``id``, ``recipe_hash``, ``weights`` (their digest as they were loaded) and ``folder`` besides.
    """
    loaded = getattr(model, "_orig_mod", model)  # of what torch.compile has made
    record = getattr(loaded, "record", None)
    origin = getattr(loaded, "origin", None)
    if not isinstance(record, EnsembleRecord) or not isinstance(origin, Origin):
        return {"origin": GIVEN}
    from robustbench_ens.weights.trained import digest_state  # imports torch

    changed = digest_state(loaded.state_dict()) != record.weights
    return {
        "origin": f"{origin.kind}, changed since" if changed else origin.kind,
        "id": record.id,
        "recipe_hash": record.recipe_hash,
        "weights": record.weights,
        "folder": str(origin.folder),
    }
