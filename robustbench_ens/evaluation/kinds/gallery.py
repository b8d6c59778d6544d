"""A gallery of adversarial examples: white-box PGD and black-box variants of a few images, with predictions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from robustbench_ens.config.protocols.kinds import Gallery
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out
from robustbench_ens.evaluation.partition import Group, Outline, Variant, expand
from robustbench_ens.evaluation.tables import no_outcomes

WHITEBOX = Variant("pgd", "cross_entropy", 0)
"""The attack on the target itself, with the random start of the white-box protocols."""

CLEAN = Variant("clean", "none", 0)


def _keep(job: Job, tier: str, variant: Variant, images: Tensor) -> None:
    """Keep images, their perturbations, and the predictions of every sub-model and the ensemble."""
    name = f"{tier}/{variant.attack}/{variant.loss}/{variant.restart}"
    job.arrays |= {
        "indices": job.indices.numpy().astype(np.int32),
        "labels": job.labels.numpy().astype(np.int32),
        f"{name}/images": (images * 255).round().to(torch.uint8).numpy(),
        f"{name}/perturbation": (images - job.images).float().numpy(),
        f"{name}/predicted": job.predict_each(images).T.numpy().astype(np.int32),
    }


def _clean(job: Job) -> pd.DataFrame:
    _keep(job, "clean", CLEAN, job.images)
    return no_outcomes()


def _crafted(job: Job, model: nn.Module, tier: str, variant: Variant) -> pd.DataFrame:
    (eps,) = job.settings.eps
    key = ("surrogate", variant.restart) if tier == "blackbox" else (variant.restart,)
    everything = torch.arange(len(job.images), device="cpu")
    images = job.craft(model, everything, attack=variant.attack, loss=variant.loss, eps=eps, key=key)
    job.crafting.clear()  # shares of so few images are no measure of an attack's health
    _keep(job, tier, variant, images)
    return no_outcomes()


class GalleryEvaluation(Evaluation[Gallery]):
    """The evaluation behind a gallery, which produces arrays and no outcomes.

    The arrays ``<tier>/<attack>/<loss>/<restart>/...`` are ``images``, uint8 ``(N, C, H, W)`` for display,
    ``perturbation``, float32 of the same shape and exact, and ``predicted``, int32 ``(N, M + 1)``, the classes that the
    sub-models and, last, the ensemble predict for the exact images. ``indices`` and ``labels`` are ``(N,)``. The names
    of the classes are ``class_names``.
    """

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield the clean images, white-box PGD, and each variant on the surrogate.

        Raises:
            UserError: the surrogate is not hold-out.
        """
        (source,) = job.sources
        check_hold_out(job.target.record, source.record)
        yield "clean", partial(_clean, job)
        yield f"whitebox-{WHITEBOX.key}", partial(_crafted, job, job.target.ensemble, "whitebox", WHITEBOX)
        for variant in expand(self.settings.variants):
            yield f"blackbox-{variant.key}", partial(_crafted, job, source.ensemble, "blackbox", variant)

    def groups(self, outline: Outline) -> list[Group]:
        """Return all parts in one group, because they have only a few images."""
        names = ["clean", f"whitebox-{WHITEBOX.key}"]
        names += [f"blackbox-{variant.key}" for variant in expand(self.settings.variants)]
        return [Group(tuple(names), outline.images * self.settings.steps * (len(names) - 1), name="examples")]

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return 1 + len(expand(self.settings.variants))
