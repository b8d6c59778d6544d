"""AutoAttack (Croce and Hein 2020, arXiv:2003.01690) by the package ``pyautoattack``, one attack at a time."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from robustbench_ens.config.protocols.kinds import Autoattack
from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import Evaluation
from robustbench_ens.evaluation.compute import fitting_of
from robustbench_ens.evaluation.crafting_log import DIRECTIONS, PASSES, budget_name
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Chunk, Group, Outline, at_each_eps
from robustbench_ens.evaluation.survivors import Survivors
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb.gradient import check_budget, project
from robustbench_ens.perturb.libraries.generators import global_generators
from robustbench_ens.perturb.passes import Passes

BATCH_SIZE = 250
"""The batch size of the standard version. Draws depend on it, so that it is fixed and no chunk is smaller."""

SILENT = logging.Logger("autoattack")
"""A logger outside the hierarchy, so that the package prints nothing."""
SILENT.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Component:
    """One of AutoAttack's attacks.

    Attributes:
        class_name: name of its class in the package.
        loss: the loss in outcomes. FAB seeks the nearest decision boundary and has none.
        arguments: arguments of its constructor besides those that follow from the protocol.
        fewest_classes: least number of classes for which its loss is defined.
        aims: whether it runs once for each target class.
    """

    class_name: str
    loss: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fewest_classes: int = 2
    aims: bool = False


ATTACKS: dict[str, Component] = {
    "apgd-ce": Component("APGDAttack", "cross_entropy", {"loss": "ce"}),
    "apgd-dlr": Component("APGDAttack", "dlr", {"loss": "dlr"}, fewest_classes=3),
    "apgd-t": Component("APGDAttack_targeted", "targeted_dlr", fewest_classes=4, aims=True),
    "fab": Component("FABAttack_PT", "none", {"targeted": False}),
    "fab-t": Component("FABAttack_PT", "none", {"targeted": True}, aims=True),
    "square": Component("SquareAttack", "cw", {"p_init": 0.8, "resc_schedule": False}),
}


def check_installed() -> None:
    """Check that the package ``pyautoattack`` is installed.

    Raises:
        UserError: it is not installed.
    """
    try:
        importlib.import_module("pyautoattack")
    except ImportError:
        raise UserError(
            "protocol kind 'autoattack': expected the extra 'autoattack' to be installed; "
            "run `pip install 'robustbench_ens[autoattack]'`"
        ) from None


def check_classes(settings: Autoattack, classes: int) -> None:
    """Check that every attack of the protocol supports this number of classes.

    Raises:
        UserError: one does not. DLR compares three logits, and the targeted DLR four.
    """
    for name in settings.attacks:
        fewest = ATTACKS[name].fewest_classes
        if classes < fewest:
            valid = ", ".join(other for other, kind in ATTACKS.items() if kind.fewest_classes <= classes)
            raise UserError(
                f"protocol kind 'autoattack': key 'attacks': expected attacks for {classes} classes, got {name!r}, "
                f"which needs {fewest}; valid: {valid}"
            )


def _runs(settings: Autoattack, name: str) -> int:
    """Return the number of runs of ``steps`` gradients on each image.

    A query of Square counts as a gradient. FAB takes gradients of every class, and is counted for ten classes.
    """
    if name == "square":
        return settings.restarts * -(-settings.square_queries // settings.steps)
    per_restart = settings.targets if ATTACKS[name].aims else 10 if name == "fab" else 1
    return settings.restarts * per_restart


def _steps(settings: Autoattack, name: str) -> int:
    return settings.square_queries if name == "square" else settings.steps


def build(model: nn.Module, settings: Autoattack, name: str, *, eps: float, classes: int, device: torch.device) -> Any:
    """Return the package's attack ``name`` on ``model``, with the protocol's settings.

    The constructor gets those of the settings that it has parameters for. Everything else keeps the package's defaults,
    which are those of the standard version.
    """
    class_ = getattr(importlib.import_module("pyautoattack.autoattack"), ATTACKS[name].class_name)
    given = {
        "norm": "Linf",
        "eps": eps,
        "seed": settings.seed,
        "device": device,
        "n_iter": settings.steps,
        "n_restarts": settings.restarts,
        "n_queries": settings.square_queries,
        "n_target_classes": min(settings.targets, classes - 1),
        "logger": SILENT,
    }
    accepted = inspect.signature(class_).parameters
    return class_(model, **{key: value for key, value in given.items() if key in accepted}, **ATTACKS[name].arguments)


def _fitting(job: Job) -> Fitting:
    return fitting_of(job, job.target.ensemble).doing("autoattack")


def _perturbed(job: Job, settings: Autoattack, attack: Any, clean: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad(), global_generators(settings.seed, job.device):
        found: Tensor = attack.perturb(clean.float(), labels)
    return found


def _craft(
    job: Job, settings: Autoattack, attack: Any, name: str, passes: Passes, eps: float, positions: Tensor
) -> Tensor:
    """Return adversarial images for the images at ``positions``, and measure the passes that they took.

    The package draws from PyTorch's global generators and seeds them for every batch. Their states are restored
    afterwards.
    """
    crafted = []
    for batch in positions.split(BATCH_SIZE):
        clean = job.images[batch].to(job.device)
        labels = job.labels[batch].to(job.device)
        perturb = partial(_perturbed, job, settings, attack, clean, labels)
        found = _fitting(job).whole(len(batch), partial(passes.attempt, perturb))
        found = project(found.detach().to(clean), clean, eps)
        check_budget(found, clean, eps)
        crafted.append(found.cpu())
        job.task.advance(_runs(settings, name) * len(batch))
    for direction, value in zip(DIRECTIONS, passes.per_image(len(positions)), strict=True):
        measured = budget_name(name, ATTACKS[name].loss, direction)
        job.measure_mean(measured, value, len(positions), PASSES, step=_steps(settings, name), eps=eps)
    return torch.cat(crafted)


def _at_eps(job: Job, settings: Autoattack, eps: float, chunk: Chunk) -> pd.DataFrame:
    """Return the outcomes of all attacks at one eps on a chunk, each on the images that none before has beaten.

    As in the standard evaluation, images that are misclassified when clean count as beaten: the first attack returns
    them unchanged, and later attacks skip them.
    """
    probe = job.images[:PROBED].to(job.device)
    model = Chunked(folded(job.target.ensemble, probe).float().to(job.device), _fitting(job))
    survivors = Survivors(job, eps, chunk)
    for name in settings.attacks:
        job.task.advance(_runs(settings, name) * survivors.beaten)
        attack = build(model, settings, name, eps=eps, classes=job.target.record.classes, device=job.device)
        passes = Passes()
        craft = partial(_craft, job, settings, attack, name, passes, eps)
        with passes.watching(model):
            survivors.attempt(craft, attack=name, loss=ATTACKS[name].loss, steps=_steps(settings, name))
    return survivors.rows()


class AutoattackEvaluation(Evaluation[Autoattack]):
    """An evaluation by AutoAttack."""

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield one part for each eps and chunk of images.

        Raises:
            UserError: the package is not installed, or an attack needs more classes.
        """
        check_installed()
        check_classes(self.settings, job.target.record.classes)
        for name, eps, chunk in at_each_eps(self.settings.eps, job.chunks(BATCH_SIZE)):
            yield name, partial(_at_eps, job, self.settings, eps, chunk)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each in its own group."""
        each = self.settings.steps * sum(_runs(self.settings, name) for name in self.settings.attacks)
        split = outline.chunks(BATCH_SIZE)
        return [Group((name,), each * len(chunk)) for name, _, chunk in at_each_eps(self.settings.eps, split)]

    def check(self) -> None:
        """Check that the package is installed."""
        check_installed()

    def fits(self, classes: int) -> None:
        """Check that every attack supports this number of classes, as :func:`check_classes` does."""
        check_classes(self.settings, classes)

    def attempts(self, sub_models: int) -> int:
        """Return the largest number of attempts of ``steps`` gradients or queries on each image."""
        return len(self.settings.eps) * sum(_runs(self.settings, name) for name in self.settings.attacks)
