"""The images that an evaluation attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from robustbench_ens.config.protocols import ProtocolFile
from robustbench_ens.data import Dataset, select_images, to_float


@dataclass(frozen=True)
class EvaluationImages:
    """The images that an evaluation attacks.

    Attributes:
        indices: ``(N,)``, of the images in the test split, sorted.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``.
        digest: of the dataset.
        classes: names of the classes; empty if they are not known.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor
    digest: str
    classes: Sequence[str] = ()


def evaluation_images(settings: ProtocolFile, dataset: Dataset) -> EvaluationImages:
    """Return the images that a protocol asks for."""
    indices = select_images(len(dataset.y_test), settings.images, settings.seed)
    return EvaluationImages(
        indices, to_float(dataset.x_test[indices]), dataset.y_test[indices], dataset.digest, dataset.classes
    )
