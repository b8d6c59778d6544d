"""Craft by the name of an attack: its draws, its batches, and the harness that projects and checks its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from robustbench_ens.config.attacks import attack_class, attack_facts, expected_loss, loss_function
from robustbench_ens.config.libraries import OWN_LOSS, split
from robustbench_ens.config.validation import Precision
from robustbench_ens.core.device_memory import memory_of
from robustbench_ens.core.fitting import Chunked, Fitting
from robustbench_ens.core.seeds import derive_seed
from robustbench_ens.core.text import counted
from robustbench_ens.errors import UserError
from robustbench_ens.models.aggregation import Aggregation
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb.attack import Attack, Draws, Pool, Problem
from robustbench_ens.perturb.gradient import LoopState
from robustbench_ens.perturb.harness import LARGEST_BATCH, craft_in_batches
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute, Observers
from robustbench_ens.perturb.libraries import Order, adversary
from robustbench_ens.perturb.losses import AttackLoss
from robustbench_ens.perturb.passes import Passes
from robustbench_ens.perturb.precision import at_precision
from robustbench_ens.perturb.skip_gradient import check_skips


@dataclass(frozen=True)
class _Batch:
    """Images to be crafted together; ``rows`` are their positions among all."""

    rows: slice
    clean: CleanImages


Crafter = Callable[[_Batch], Tensor]


@dataclass(frozen=True)
class _Task:
    """What all batches share; ``key`` is what draws belong to, but for the image."""

    model: nn.Module
    loss: AttackLoss | None
    budget: Budget
    key: tuple[object, ...]
    pool: Pool
    begin: Tensor | None = None


def _by_class(task: _Task, attack: type[Attack], resume: LoopState | None, observers: Observers) -> Crafter:
    """Return what crafts batches by an attack, which has prepared ``task.model``."""
    loss = task.loss
    assert loss is not None  # only attacks of libraries have an objective of their own
    members = sub_models(task.model) or [task.model]
    on_step, on_end = observers.on_step, observers.on_end

    def crafter(batch: _Batch) -> Tensor:
        problem = Problem(
            images=batch.clean.images,
            labels=batch.clean.labels,
            scores=task.model,
            loss=loss,
            eps=task.budget.eps,
            step_size=task.budget.step_size,
            steps=task.budget.steps,
            draws=Draws(task.key, batch.clean.indices),
            pool=task.pool,
            members=members,
            aggregation=_followed(task.model),
            begin=None if task.begin is None else task.begin[batch.rows].to(batch.clean.images),
            on_step=partial(on_step, batch.rows) if on_step else None,
            on_end=partial(on_end, batch.rows) if on_end else None,
            resume=resume[batch.rows] if resume else None,
        )
        return attack(problem).run()

    return crafter


def _followed(model: nn.Module) -> Aggregation | None:
    """Return the aggregation that states what attacks on ``model`` follow; none if that is the loss of its scores."""
    own = model.aggregate if isinstance(model, Ensemble) else None
    return None if own is None or own.follows_scores else own


def _by_library(task: _Task, name: str, options: Mapping[str, object], device: torch.device) -> Crafter:
    """Return what crafts batches by an attack of a library, one at a time: it draws from the process's generators."""
    attack = adversary(Order(name, task.model, task.loss, task.budget, options, device))
    library = name.partition(":")[0]

    def crafter(batch: _Batch) -> Tensor:
        clean = batch.clean
        return attack(clean.images, clean.labels, derive_seed(library, *task.key, *clean.indices))

    return crafter


def _loss(settings: AttackSettings) -> AttackLoss | None:
    """Return the loss to maximise; none if the attack has an objective of its own.

    Raises:
        UserError: there is no such loss, or the attack cannot maximise it.
    """
    expected = expected_loss(settings.loss, settings.attack)
    if expected is not None:
        raise UserError(f"loss: {expected}, got {settings.loss!r}")
    found: AttackLoss | None = None if settings.loss == OWN_LOSS else loss_function(settings.loss)
    return found


def _counted(crafter: Crafter, passes: Passes) -> Crafter:
    """Return ``crafter``, each batch of which is an attempt to ``passes``."""
    return lambda batch: passes.attempt(lambda: crafter(batch))


def _whole(crafter: Crafter, fitting: Fitting) -> Crafter:
    """Return ``crafter``, whose draws belong to a batch, starting again with smaller parts if memory runs out."""
    return lambda batch: fitting.whole(len(batch.clean.images), lambda: crafter(batch))


def _class_of(name: str, model: nn.Module) -> type[Attack]:
    """Return the class of an attack.

    Raises:
        UserError: there is none, or it does not work on the network.
    """
    found = attack_class(name)
    if not (isinstance(found, type) and issubclass(found, Attack)):
        raise UserError(f"attack {name!r}: expected a subclass of robustbench_ens.perturb.attack.Attack, got {found!r}")
    if attack_facts(name).needs_skips:
        check_skips(model, name)
    return found


def _work(attack: str, model: nn.Module, precision: Precision) -> str:
    """Return what decides the memory of crafting besides the network."""
    return f"{attack} on {counted(len(sub_models(model)) or 1, 'sub-model')} in {precision}"


def _measure(task: _Task, attack: type[Attack], clean: CleanImages, compute: Compute) -> None:
    """Let a GPU's memory decide how many images go together; nobody observes the first step of the few it takes."""
    budget = replace(task.budget, steps=min(task.budget.steps, 1))
    crafter = _by_class(replace(task, budget=budget), attack, None, Observers())

    def craft_some(count: int) -> None:
        images, labels = (all_[:count].to(compute.device) for all_ in (clean.images, clean.labels))
        crafter(_Batch(slice(0, count), CleanImages(images, labels, clean.indices[:count])))

    compute.fitting.measure(memory_of(compute.device), craft_some, len(clean.images))


def craft(
    model: nn.Module,
    clean: CleanImages,
    settings: AttackSettings,
    compute: Compute,
    *,
    observers: Observers | None = None,
    resume: LoopState | None = None,
    pool: Pool | None = None,
    begin: Tensor | None = None,
) -> Tensor:
    """Craft adversarial images for ``model`` in eval mode, on a folded copy; the model itself is not touched.

    Args:
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        clean: the images to start from.
        settings: the attack, its loss, its budget and its draws.
        compute: where to compute, and how much at a time.
        observers: of the gradient loop, and of what the model is shown.
        resume: the state in which an earlier crafting of the same images ended, on the device; this one goes on.
        pool: images to mix with, for attacks that do; the clean images unless given.
        begin: images ``(N, C, H, W)`` to start at, projected into the budget; where the attack starts unless given.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of the clean images and in [0, 1].

    Raises:
        UserError: no such attack, loss or option; a network that the attack does not work on; images to start at for
            an attack that starts where it does.
    """
    name, observers = settings.attack, observers or Observers()
    if begin is not None and not attack_facts(name).begins_anywhere:
        raise UserError(f"attack {name!r}: expected one that starts at given images")
    fast = at_precision(folded(model, clean.images[:PROBED].to(compute.device)), compute.precision)
    pool = pool or Pool(clean.images, clean.labels)
    key = (name, settings.loss, *settings.key)
    task = _Task(fast, _loss(settings), settings.budget, key, pool, begin)
    fitting = compute.fitting.doing(_work(name, fast, compute.precision))
    if split(name):
        task = replace(task, model=Chunked(fast, fitting))
        crafter = _counted(_by_library(task, name, settings.options, compute.device), observers.passes)
        crafter = _whole(crafter, fitting)
        # Its draws belong to the whole batch, which must stay as it is.
        compute = replace(compute, workers=1, batch_size=compute.batch_size or LARGEST_BATCH, fitting=Fitting())
    else:
        found = _class_of(name, fast)
        if settings.options:
            raise UserError(f"attack {name!r}: expected no options, got {', '.join(settings.options)}")
        found.prepare(fast)
        compute = replace(compute, fitting=fitting)
        _measure(task, found, clean, compute)
        crafter = _counted(_by_class(task, found, resume, observers), observers.passes)

    def craft_rows(rows: slice, images: Tensor) -> Tensor:
        labels = clean.labels[rows].to(compute.device)
        return crafter(_Batch(rows, CleanImages(images, labels, clean.indices[rows])))

    with observers.passes.watching(task.model):
        return craft_in_batches(craft_rows, clean.images, settings.budget.eps, compute)
