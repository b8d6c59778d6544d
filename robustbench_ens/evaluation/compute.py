"""Where an evaluation computes, and how many images go together, network by network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.device_memory import described
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.store import Store
from robustbench_ens.models.architecture import architecture
from robustbench_ens.perturb.inputs import Compute

if TYPE_CHECKING:
    from robustbench_ens.evaluation.job import Job
    from robustbench_ens.evaluation.loaded_model import LoadedModel


def kept_sizes(store: Store, images: Tensor, device: torch.device) -> BatchSizes:
    """Return the batch sizes that a run directory keeps for images ``(N, C, H, W)`` of one size on one device."""
    shape = " x ".join(map(str, images.shape[1:]))
    return BatchSizes(store.root, f"{shape} {images.dtype}", described(device))


def owner_of(job: Job, model: nn.Module) -> LoadedModel:
    """Return the surrogate that ``model`` is, or is a part of; else the target."""
    return next((own for own in job.sources if model in own.ensemble.modules()), job.target)


def fitting_of(job: Job, model: nn.Module) -> Fitting:
    """Return how many images go together of the target or surrogate that ``model`` is, or is a part of."""
    return job.fitting.on(owner_of(job, model).ensemble, architecture)


def compute_on(job: Job, model: nn.Module) -> Compute:
    """Return where to craft on ``model``, and how much at a time; the job's task is told of each batch."""
    return Compute(
        job.device,
        job.precision,
        fitting=fitting_of(job, model),
        workers=job.workers,
        on_batch=job.task.advance,
    )
