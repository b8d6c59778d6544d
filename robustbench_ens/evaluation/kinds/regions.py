"""Decision regions of each sub-model and the ensemble around a few images (DVERGE, Figures 1 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_ens.config.protocols.kinds import Regions
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out
from robustbench_ens.evaluation.kinds.diversity import measured_images
from robustbench_ens.evaluation.tables import no_outcomes
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb.gradient import check_budget
from robustbench_ens.perturb.plane import adversarial_direction, coefficients, plane, rademacher_direction

BATCH_SIZE = 1000


def directions(job: Job, settings: Regions, position: int) -> tuple[Tensor, Tensor]:
    """Return the surrogate's adversarial direction at an image, and a random direction, both ``(C, H, W)``.

    They depend only on surrogate and image, and on seed and image, so that every target has the same plane.

    Raises:
        UserError: the surrogate's gradient is zero.
    """
    (source,) = job.sources
    # In float32 the probability of the true class rounds to 1 if a surrogate is confident, and its gradient vanishes.
    model = folded(source.ensemble, job.images[:PROBED].to(job.device)).double()
    dtype = next((parameter.dtype for parameter in model.parameters()), job.images.dtype)
    image = job.images[position]
    index = int(job.indices[position])
    up = adversarial_direction(model, image.to(job.device, dtype), int(job.labels[position]))
    if not up.any():
        raise UserError(
            f"{settings.kind} of {job.target.record.id}: expected a surrogate with a gradient at every image, got none "
            f"of {source.record.id!r} at test image {index}; use another surrogate or seed"
        )
    return up.to(image), rademacher_direction(image.shape, settings.seed, index).to(image)


def regions_around(job: Job, settings: Regions, position: int) -> Tensor:
    """Return the predicted classes ``(M + 1, grid, grid)`` of the sub-models and, last, of the ensemble.

    The image is in the middle. Rows follow the adversarial direction and columns the random one, from ``-eps`` to
    ``eps``.
    """
    (eps,) = settings.eps
    image = job.images[position]
    up, across = directions(job, settings, position)
    line = coefficients(eps, settings.grid)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    parts = []
    for own in torch.arange(len(rows), device="cpu").split(BATCH_SIZE):
        points = plane(image, up, across, rows[own], columns[own])
        check_budget(points, image.expand_as(points), 2 * eps)
        parts.append(job.predict_each(points))
        job.task.advance(parts[-1].numel())
    return torch.cat(parts, dim=1).view(-1, settings.grid, settings.grid)


def _around(job: Job, settings: Regions, position: int) -> pd.DataFrame:
    index = int(job.indices[position])
    job.arrays |= {
        f"{index}/regions": regions_around(job, settings, position).numpy().astype(np.int32),
        f"{index}/image": (job.images[position] * 255).round().to(torch.uint8).numpy(),
        f"{index}/label": np.array(int(job.labels[position]), dtype=np.int32),
    }
    return no_outcomes()


class RegionsEvaluation(Evaluation[Regions]):
    """An evaluation of decision regions, which produces arrays and no outcomes.

    The arrays are ``<image>/regions``, int32 as :func:`regions_around` returns them, ``<image>/image``, uint8
    ``(C, H, W)``, and ``<image>/label``, where ``<image>`` is the index in the test split, and ``class_names``.
    """

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each image.

        Raises:
            UserError: the surrogate is not hold-out, or no image is classified correctly.
        """
        for source in job.sources:
            check_hold_out(job.target.record, source.record)
        for position in measured_images(job, self.settings).tolist():
            yield f"image-{int(job.indices[position])}", partial(_around, job, self.settings, position)

    def attempts(self, sub_models: int) -> int:
        """Return the mean number of predictions for each image."""
        return max(1, self.settings.right_images * self.settings.grid**2 * (sub_models + 1) // self.settings.images)
