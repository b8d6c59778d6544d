"""The search for the test images that adversarial examples were made from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from robustbench_ens.data import Dataset, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.perturb.gradient import TOLERANCE


def find_images(versions: Iterable[tuple[Tensor, float]], labels: Tensor, dataset: Dataset, where: str) -> Tensor:
    """Return each image's index in the test split: the only image of its class within eps of all its versions.

    Args:
        versions: images ``(N, C, H, W)`` with their eps; read until every image is identified.
        labels: ``(N,)``, true classes.
        dataset: the dataset with the test split.
        where: the origin of the images, for errors.

    Returns:
        ``(N,)``, indices without repeats.

    Raises:
        UserError: an image has no such test image, or several different ones.
    """
    possible = labels[:, None] == dataset.y_test[None, :]
    smallest = torch.zeros(len(labels), dtype=torch.float32, device="cpu")
    eps = 0.0
    for images, eps in versions:
        for label in labels.unique():
            # By class: an example has the class of its test image, so that no other distance is needed.
            rows = (labels == label).nonzero()[:, 0]
            columns = (dataset.y_test == label).nonzero()[:, 0]
            if not len(columns):
                continue
            clean = to_float(dataset.x_test[columns]).flatten(1)
            distance = torch.cdist(images[rows].flatten(1), clean, p=torch.inf)
            possible[rows[:, None], columns] &= distance <= eps + TOLERANCE
            smallest[rows] = distance.min(dim=1).values
        if (possible.sum(dim=1) <= 1).all():
            break
    for row in (possible.sum(dim=1) != 1).nonzero()[:, 0].tolist():
        pictures = dataset.x_test[possible[row]]
        if not len(pictures):
            raise UserError(
                f"{where}: image {row}: expected a test image of {dataset.name!r} of class {int(labels[row])} within "
                f"eps {eps:g}, got {float(smallest[row]):.4g} as the least distance to any"
            )
        if not (pictures == pictures[0]).all():
            raise UserError(
                f"{where}: image {row}: expected one test image of {dataset.name!r} within eps {eps:g}, got "
                f"{len(pictures)}; add the clean images as clean/inputs.pt and clean/labels.pt"
            )
    found = possible.int().argmax(dim=1)
    if len(found.unique()) < len(found):
        raise UserError(f"{where}: expected {len(found)} different test images of {dataset.name!r}, got repeats")
    return found
