"""The device and the batch sizes of an evaluation, for each network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.device_memory import describe
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.store import Store
from robustbench_ens.models.architecture import architecture
from robustbench_ens.perturb.inputs import Compute

if TYPE_CHECKING:
    from robustbench_ens.evaluation.job import Job
    from robustbench_ens.evaluation.loaded_model import LoadedModel


def kept_sizes(store: Store, images: Tensor, device: torch.device) -> BatchSizes:
    """Return the batch sizes that a run directory records for images ``(N, C, H, W)`` of one size on a device."""
    shape = " x ".join(map(str, images.shape[1:]))
    return BatchSizes(store.root, f"{shape} {images.dtype}", describe(device))


def owner_of(job: Job, model: nn.Module) -> LoadedModel:
    """Return the surrogate that is or contains ``model``, or else the target."""
    return next((own for own in job.sources if model in own.ensemble.modules()), job.target)


def fitting_of(job: Job, model: nn.Module) -> Fitting:
    """Return the batch sizes of the target or surrogate that is or contains ``model``."""
    return job.fitting.on(owner_of(job, model).ensemble, architecture)


def compute_on(job: Job, model: nn.Module) -> Compute:
    """Return the device, precision and batch size for crafting on ``model``. Each batch advances the job's task."""
    return Compute(
        job.device,
        job.precision,
        fitting=fitting_of(job, model),
        workers=job.workers,
        on_batch=job.task.advance,
    )
