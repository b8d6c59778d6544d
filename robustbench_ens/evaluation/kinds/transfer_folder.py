"""Transfer of released examples, read from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch

from robustbench_ens.config.protocols.kinds import TransferFolder
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.find_images import find_images
from robustbench_ens.evaluation.images import EvaluationImages
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.released_examples import ReleasedExamples, ReleasedVariant, read_images
from robustbench_ens.perturb.gradient import check_budget


def folder_images(settings: TransferFolder, dataset: Dataset) -> EvaluationImages:
    """Return the test images that the folder's examples were made from.

    Raises:
        UserError: a file is missing, damaged or of another shape, labels differ, or the images are not of the dataset.
    """
    examples = ReleasedExamples(settings)
    labels = examples.labels()
    versions = examples.versions(len(labels), tuple(dataset.x_test.shape[1:]))
    found = find_images(versions, labels, dataset, settings.folder)
    chosen = select_images(len(labels), settings.images, settings.seed)
    indices = found[chosen]
    return EvaluationImages(indices, to_float(dataset.x_test[indices]), labels[chosen], dataset.digest)


def _rows(job: Job, examples: ReleasedExamples, variant: ReleasedVariant, eps: float, count: int) -> pd.DataFrame:
    path = examples.images_file(variant, eps)
    chosen = select_images(count, job.settings.images, job.settings.seed)
    crafted = read_images(path, count, tuple(job.images.shape[1:]))[chosen].to(job.images.dtype)
    try:
        check_budget(crafted, job.images, eps)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    job.task.advance(len(crafted))
    return job.answer_rows(
        torch.arange(len(crafted), device="cpu"),
        job.answers(job.target.ensemble, crafted),
        source=f"released:{variant.source}",
        attack=variant.attack,
        loss=variant.loss,
        eps=eps,
        restart=variant.restart,
        steps=variant.steps,
    )


class TransferFolderEvaluation(Evaluation[TransferFolder]):
    """An evaluation on released examples."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps and variant."""
        examples = ReleasedExamples(self.settings)
        count = len(examples.labels())
        for eps in self.settings.eps:
            for variant in examples.variants:
                yield f"eps-{eps}-{variant.folder}", partial(_rows, job, examples, variant, eps, count)

    def images(self, dataset: Dataset) -> EvaluationImages:
        """Return the test images that the examples were made from, as :func:`folder_images` does."""
        return folder_images(self.settings, dataset)

    def digest(self) -> str:
        """Return the digest of all files that are read."""
        return ReleasedExamples(self.settings).digest()

    def check(self) -> None:
        """Check that every variant exists at every eps, as :class:`ReleasedExamples` does."""
        ReleasedExamples(self.settings).check()

    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image."""
        return len(self.settings.eps) * len(ReleasedExamples(self.settings).variants)
