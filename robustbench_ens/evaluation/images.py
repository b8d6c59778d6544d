"""The images that an evaluation attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from robustbench_ens.config.protocols import Protocol, ProtocolFile
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.data.halves import are_in_half, images_in_half
from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class EvaluationImages:
    """The images that an evaluation attacks.

    Attributes:
        indices: ``(N,)``, indices in the test split, sorted.
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``, true classes.
        digest: digest of the dataset.
        classes: names of the classes; empty if they are unknown.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor
    digest: str
    classes: Sequence[str] = ()


def evaluation_images(settings: ProtocolFile, dataset: Dataset) -> EvaluationImages:
    """Return the images that a protocol attacks."""
    indices = chosen_indices(settings, len(dataset.y_test))
    return EvaluationImages(
        indices, to_float(dataset.x_test[indices]), dataset.y_test[indices], dataset.digest, dataset.classes
    )


def chosen_indices(settings: ProtocolFile, test: int) -> Tensor:
    """Return the indices of the images that a protocol draws from ``test`` test images: int64, ascending."""
    return select_images(test, settings.images, settings.seed, settings.test_half)


def check_count(protocol: Protocol, test: int, name: str) -> None:
    """Check that the dataset ``name`` with ``test`` test images has enough of them for ``protocol``.

    Raises:
        UserError: it has fewer, or too few to be halved.
    """
    settings = protocol.settings
    where = f"protocol {protocol.label!r}"
    if settings.test_half != "all" and test < 2:
        raise UserError(
            f"{where}: key 'test_half': expected at least 2 test images, two halves, got {test} in {name!r}"
        )
    there = len(images_in_half(test, settings.test_half))
    if settings.images > there:
        which = "test images" if settings.test_half == "all" else f"test images in the {settings.test_half} half"
        raise UserError(
            f"{where}: key 'images': expected at most {there}, all {which} of {name!r}, got {settings.images}"
        )


def check_half(protocol: Protocol, indices: Tensor, where: str) -> None:
    """Check that images lie in the half of the test split that ``protocol`` attacks.

    Args:
        protocol: the protocol that attacks them.
        indices: ``(N,)``, indices in the test split.
        where: the beginning of errors.

    Raises:
        UserError: one lies in the other half.
    """
    half = protocol.settings.test_half
    others = indices[~are_in_half(indices, half)]
    if len(others):
        raise UserError(
            f"{where}: expected places of test images in the {half} half, which protocol {protocol.label!r} attacks, "
            f"got {int(others[0])} of the other half; with test_half=all the protocol attacks any"
        )
