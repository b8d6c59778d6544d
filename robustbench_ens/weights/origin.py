"""The origin of weights, in the words that outcomes record."""

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
"""The origin of a model that was not loaded by this package."""


class Origin(NamedTuple):
    """The origin of a loaded ensemble's weights.

    Attributes:
        kind: ``published``, ``trained here`` or ``imported``.
        folder: the folder of the weights.
    """

    kind: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.kind}, {self.folder}"


def facts_of(model: nn.Module) -> dict[str, str]:
    """Return the origin of any model's weights as plain values.

    ``origin`` is that of a loaded ensemble, or ``given``, with a note if the weights have changed since. A loaded
    ensemble also has ``id``, ``recipe_hash``, ``weights`` (their digest when they were loaded) and ``folder``.
    """
    loaded = getattr(model, "_orig_mod", model)  # torch.compile wraps the model
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
