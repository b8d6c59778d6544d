"""Diversity and transferability during training (DVERGE, Section 4.2 and Figure 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustbench_ens.config.recipe_keys import Monitor
from robustbench_ens.core.seeds import derive_seed, generator
from robustbench_ens.data import Dataset, select_images, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.models.predict import predict
from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.diversity import distill_at_layers, diversity, transferred_losses
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute


def transferability(beaten: Tensor) -> float:
    """Return the mean success rate over ordered pairs of different sub-models, in [0, 1].

    Args:
        beaten: boolean ``(M, M, B)``: whether any attack on the row's sub-model beats the column's, by image.
    """
    rates = beaten.double().mean(dim=-1)
    return float(rates[~torch.eye(len(rates), dtype=torch.bool, device=rates.device)].mean())


def check_monitor(where: str, settings: Monitor, sub_models: int, num_layers: int | None, test_images: int) -> None:
    """Check that a monitor can measure, before anything is trained.

    Args:
        where: names the recipe in errors.
        settings: the monitor.
        sub_models: number of sub-models.
        num_layers: number of addressable layers of each; None if layers cannot be addressed.
        test_images: size of the test split.

    Raises:
        UserError: the ensemble or dataset does not meet the monitor's needs.
    """
    if sub_models < 2:
        raise UserError(f"{where}: key 'sub_models': expected at least 2 with a monitor, got {sub_models}")
    if num_layers is None:
        raise UserError(f"{where}: key 'network': expected one with addressable layers, which its monitor distils at")
    if settings.images > test_images:
        raise UserError(
            f"{where}: key 'monitor.images': expected at most {test_images}, all test images, got {settings.images}"
        )


class TrainingMonitor:
    """A monitor that measures an ensemble on a sample of test images that stays the same throughout training.

    The sample, the images' partners and layers, and the random starts depend on the seed alone. The networks are
    copied, so that measuring changes no bit of the training. The paper fixes the images that every sub-model gets right
    at the beginning. Here they are those of the sample that every sub-model gets right at the time, and their number is
    recorded. A training from scratch can then be monitored too, and a transfer is never a plain mistake.
    """

    def __init__(self, settings: Monitor, dataset: Dataset, seed: str, device: torch.device, workers: int = 1) -> None:
        self.settings = settings
        self.seed = seed
        self.device = device
        self.workers = workers
        self.indices = select_images(len(dataset.y_test), settings.images, derive_seed(seed, "monitor"))
        self.images = to_float(dataset.x_test[self.indices])
        self.labels = dataset.y_test[self.indices]
        self.partners = torch.randperm(settings.images, generator=generator(seed, "monitor", "partners"), device="cpu")

    def measure(self, ensemble: Ensemble) -> dict[str, float]:
        """Return ``diversity`` in nats (Equation 2), ``transferability`` in [0, 1], and the number of ``images``.

        Both are NaN if no image is classified correctly by every sub-model.
        """
        probe = self.images[:PROBED].to(self.device)
        members: list[Any] = [folded(member, probe) for member in ensemble.members]
        right = torch.stack([predict(member, self.images, self.device) == self.labels for member in members]).all(dim=0)
        rows = right.nonzero().squeeze(1)
        any_right = len(rows) > 0
        return {
            "diversity": self._diversity(members, rows) if any_right else float("nan"),
            "transferability": self._transferability(members, rows) if any_right else float("nan"),
            "images": float(len(rows)),
        }

    def _diversity(self, members: list[SubModel], rows: Tensor) -> float:
        settings = self.settings
        draw = generator(self.seed, "monitor", "layers")
        layers = torch.randint(1, members[0].num_layers + 1, (len(self.images),), generator=draw, device="cpu")[rows]
        target = self.images[rows].to(self.device)
        source = self.images[self.partners[rows]].to(self.device)
        distilled = [
            distill_at_layers(
                member,
                source,
                target,
                layers.to(self.device),
                eps=settings.diversity_eps,
                step_size=settings.diversity_eps / settings.diversity_steps,
                steps=settings.diversity_steps,
            )
            for member in members
        ]
        return float(diversity(transferred_losses(members, distilled, self.labels[rows].to(self.device))))

    def _transferability(self, members: list[SubModel], rows: Tensor) -> float:
        settings = self.settings
        images = self.images[rows]
        labels = self.labels[rows]
        budget = Budget(settings.eps, settings.eps / 5, settings.steps)
        beaten = torch.zeros(len(members), len(members), len(rows), dtype=torch.bool, device="cpu")
        for i, source in enumerate(members):
            for restart in range(settings.restarts):
                crafted = craft(
                    source,
                    CleanImages(images, labels, self.indices[rows].tolist()),
                    AttackSettings("pgd", "cross_entropy", budget, key=(self.seed, "monitor", i, restart)),
                    Compute(self.device, workers=self.workers),
                )
                for j, target in enumerate(members):
                    beaten[i, j] |= predict(target, crafted, self.device) != labels
        return transferability(beaten)
