"""AutoAttack (Croce and Hein 2020, arXiv:2003.01690) through the package ``pyautoattack``, one attack at a time."""

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
"""As in the standard version. The draws belong to a batch, so it is part of the method, and no chunk is smaller."""

SILENT = logging.Logger("autoattack")
"""Of no hierarchy, so that nothing the package says reaches the console."""
SILENT.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Kind:
    """One of AutoAttack's attacks.

    Attributes:
        class_name: in the package.
        loss: what it maximises, as in outcomes; FAB seeks the nearest decision boundary and has none.
        arguments: of its constructor, beside those that follow from the protocol.
        fewest_classes: that its loss is defined for.
        aims: whether it is run once for each target class.
    """

    class_name: str
    loss: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fewest_classes: int = 2
    aims: bool = False


ATTACKS: dict[str, Kind] = {
    "apgd-ce": Kind("APGDAttack", "cross_entropy", {"loss": "ce"}),
    "apgd-dlr": Kind("APGDAttack", "dlr", {"loss": "dlr"}, fewest_classes=3),
    "apgd-t": Kind("APGDAttack_targeted", "targeted_dlr", fewest_classes=4, aims=True),
    "fab": Kind("FABAttack_PT", "none", {"targeted": False}),
    "fab-t": Kind("FABAttack_PT", "none", {"targeted": True}, aims=True),
    "square": Kind("SquareAttack", "cw", {"p_init": 0.8, "resc_schedule": False}),
}


def check_installed() -> None:
    """See that the package ``pyautoattack`` is there.

    Raises:
        UserError: it is not.
    """
    try:
        importlib.import_module("pyautoattack")
    except ImportError:
        raise UserError(
            "protocol kind 'autoattack': expected the extra 'autoattack' to be installed; "
            "run `pip install 'robustbench_ens[autoattack]'`"
        ) from None


def check_classes(settings: Autoattack, classes: int) -> None:
    """See that every attack of the protocol works with so many classes.

    Raises:
        UserError: DLR compares three logits, the targeted DLR four.
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
    """Runs of ``steps`` gradients on each image; a query of Square counts as one, FAB's as if it had ten classes."""
    if name == "square":
        return settings.restarts * -(-settings.square_queries // settings.steps)
    per_restart = settings.targets if ATTACKS[name].aims else 10 if name == "fab" else 1
    return settings.restarts * per_restart


def _steps(settings: Autoattack, name: str) -> int:
    return settings.square_queries if name == "square" else settings.steps


def build(model: nn.Module, settings: Autoattack, name: str, *, eps: float, classes: int, device: torch.device) -> Any:
    """The package's attack ``name`` on ``model``, with the protocol's settings.

    Its constructor is told what it asks for, and else left to the package's defaults, which are those of the standard
    version.
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
    """Adversarial images for the images at ``positions``, a batch at a time; measures the passes that they took.

    The package draws from PyTorch's global generators, which it seeds alike for every batch; their states are as
    before afterwards.
    """
    crafted = []
    for batch in positions.split(BATCH_SIZE):
        clean, labels = job.images[batch].to(job.device), job.labels[batch].to(job.device)
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
    """Every attack at one eps on some images, each on those that the ones before have not beaten.

    As in the standard evaluation, images that are misclassified as they are count as beaten: the first attack hands
    them back, and no later one sees them.
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
        """The parts of an evaluation by AutoAttack: one for each eps and chunk of images.

        Raises:
            UserError: the package is not installed, or an attack needs more classes.
        """
        check_installed()
        check_classes(self.settings, job.target.record.classes)
        for name, eps, chunk in at_each_eps(self.settings.eps, job.chunks(BATCH_SIZE)):
            yield name, partial(_at_eps, job, self.settings, eps, chunk)

    def groups(self, outline: Outline) -> list[Group]:
        """Return the same parts, each by itself."""
        each = self.settings.steps * sum(_runs(self.settings, name) for name in self.settings.attacks)
        split = outline.chunks(BATCH_SIZE)
        return [Group((name,), each * len(chunk)) for name, _, chunk in at_each_eps(self.settings.eps, split)]

    def check(self) -> None:
        """Check that the package is installed."""
        check_installed()

    def fits(self, classes: int) -> None:
        """Check that every attack works with so many classes; see :func:`check_classes`."""
        check_classes(self.settings, classes)

    def attempts(self, sub_models: int) -> int:
        """Attempts of ``steps`` gradients or queries on each image, at most, for progress."""
        return len(self.settings.eps) * sum(_runs(self.settings, name) for name in self.settings.attacks)
