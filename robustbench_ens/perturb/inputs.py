"""The inputs of crafting: images, an attack's settings, and where to compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_ens.config.validation import Precision
from robustbench_ens.core.fitting import Fitting
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.passes import Passes


@dataclass(frozen=True)
class Budget:
    """What an attack may do to an image.

    Attributes:
        eps: l-infinity radius in pixel scale.
        step_size: in pixel scale.
        steps: gradient steps.
    """

    eps: float
    step_size: float
    steps: int


@dataclass(frozen=True)
class AttackSettings:
    """Everything besides model and images that decides what is crafted.

    Attributes:
        attack: a key of :data:`~robustbench_ens.config.attacks.ATTACKS`, ``package.module:Name``, or a library's
            attack such as ``torchattacks:PGD``, whose draws belong to the batch of images and whose batches are crafted
            one after the other.
        loss: a key of :data:`~robustbench_ens.config.attacks.LOSSES` or ``package.module:name``, maximised; ``own``
            for a library's attack with an objective of its own.
        budget: radius, step size and steps.
        key: seed, variant and restart; with the image's index it decides the random start and every draw.
        options: further arguments of the constructor of a library's attack.
    """

    attack: str
    loss: str
    budget: Budget
    key: Sequence[object]
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CleanImages:
    """Clean images with their classes.

    Attributes:
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(N,)``, the true classes.
        indices: of the images in their dataset; random starts and draws belong to their image.
    """

    images: Tensor
    labels: Tensor
    indices: Sequence[int]


@dataclass(frozen=True)
class Compute:
    """Where crafting computes, and how much at a time. It changes no start and no draw.

    Attributes:
        device: where to compute.
        precision: of the networks.
        batch_size: images at a time, by default what suits the device.
        fitting: halves a batch that does not fit in memory; one of a library's attack stays whole, and is computed in
            parts.
        workers: batches computed at the same time on a CPU.
        on_batch: called with the number of images of each finished batch.
    """

    device: torch.device
    precision: Precision = "fp32"
    batch_size: int | None = None
    fitting: Fitting = field(default_factory=Fitting)
    workers: int = 1
    on_batch: Callable[[int], None] | None = None


OnBatchStep = Callable[[slice, int, Tensor, Tensor], None]
"""Called after each step with the batch's rows and the arguments of :data:`~.gradient.OnStep`."""

OnBatchEnd = Callable[[slice, LoopState], None]
"""Called after the last step with the batch's rows and the state of the gradient loop."""


@dataclass(frozen=True)
class Observers:
    """Observers of crafting.

    Those of the gradient loop are called from the workers' threads; attacks of libraries have no loop to observe.

    Attributes:
        on_step: called after each step of a batch.
        on_end: called after the last step of a batch.
        passes: counts what the model is shown, of every attack.
    """

    on_step: OnBatchStep | None = None
    on_end: OnBatchEnd | None = None
    passes: Passes = field(default_factory=Passes)
