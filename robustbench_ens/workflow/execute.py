"""Carry a plan out: look at the inputs first, then train and attack in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.parallel import is_small, share_cores
from robustbench_ens.core.paths import inside
from robustbench_ens.core.process import full_precision
from robustbench_ens.data import Dataset, small_shape, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.history import read_numbers
from robustbench_ens.evaluation.inspection import PROBE_IMAGES
from robustbench_ens.evaluation.job import Subject
from robustbench_ens.evaluation.runner import evaluate, outcomes_file, parts_folder
from robustbench_ens.evaluation.soundness import about_network
from robustbench_ens.models.build import check_network
from robustbench_ens.models.external import blamed
from robustbench_ens.models.layout import contiguous, contiguous_remark, needs_contiguous
from robustbench_ens.models.pointwise import warnings_about
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.training.monitor import check_monitor
from robustbench_ens.training.trainer import train
from robustbench_ens.weights.record import HISTORY, MONITORED, RECORD, read_record, run_dir
from robustbench_ens.weights.trained import load_trained
from robustbench_ens.workflow.lanes import Bounds, Lanes
from robustbench_ens.workflow.plan import AttackStep, Plan, Step, TrainStep
from robustbench_ens.workflow.targets import Given, Trained


def check_inputs(plan: Plan) -> None:
    """Load the data of what is due and see that it fits, so that a mistake costs no training.

    Raises:
        UserError: a dataset is missing or damaged, has too few images, or a network does not take it; published weights
            are damaged.
    """
    warned: dict[str, None] = {}
    for step in plan.due:
        dataset = plan.workplace.dataset(*_dataset(step))
        if isinstance(step, TrainStep):
            recipe = step.ensemble.recipe
            dataset.check_trainable(f"recipe {recipe.label!r}: key 'dataset': ", _without_training(plan, step))
            shape = dataset.x_test.shape[1:]
            network = check_network(recipe, shape, dataset.num_classes)
            if resizing := recipe.settings.progressive_resizing:
                small = small_shape(shape, resizing.size, f"recipe {recipe.label!r}: ")
                check_network(recipe, small, dataset.num_classes)
            num_layers, where = getattr(network, "num_layers", None), f"recipe {recipe.label!r}"
            warned |= dict.fromkeys(_remarks(recipe, network, dataset))
            recipe.method.check(where, recipe.settings.sub_models, num_layers)
            if recipe.settings.monitor is not None:
                check_monitor(
                    where, recipe.settings.monitor, recipe.settings.sub_models, num_layers, len(dataset.y_test)
                )
            if recipe.settings.batch_size > len(dataset.y_train):
                raise UserError(
                    f"recipe {recipe.label!r}: key 'batch_size': expected at most {len(dataset.y_train)}, all training "
                    f"images of {dataset.name!r}, got {recipe.settings.batch_size}"
                )
            if step.ensemble.parent is not None:
                _check_published(plan, step.ensemble.parent)
        elif step.protocol.settings.images > len(dataset.y_test):
            raise UserError(
                f"protocol {step.protocol.label!r}: key 'images': expected at most {len(dataset.y_test)}, all test "
                f"images of {dataset.name!r}, got {step.protocol.settings.images}"
            )
        else:
            for ensemble in (step.target, *step.sources):
                _check_published(plan, ensemble)
                if isinstance(ensemble, Trained) and ":" in ensemble.recipe.settings.network:
                    network = check_network(ensemble.recipe, dataset.x_test.shape[1:], dataset.num_classes)
                    warned |= dict.fromkeys(_remarks(ensemble.recipe, network, dataset))
            evaluation = evaluation_of(step.protocol.settings)
            evaluation.check()
            evaluation.fits(dataset.num_classes)
            if step.protocol.settings.trained_on:
                _check_images(plan, step, dataset)
    for warning in warned:
        plan.workplace.warn(warning)


def _without_training(plan: Plan, step: TrainStep) -> str:
    """What a person can do who has no training images for ``step``."""
    folder = run_dir(plan.workplace.store, step.ensemble.recipe, step.ensemble.seed)
    if read_record(folder) is not None:
        return f"{folder} was trained on other images of that name: bring its train split back"
    return (
        "add a train split, attack a model that needs no training with --model, or attack what was trained on another "
        "dataset by a protocol with 'trained_on'"
    )


def _remarks(recipe: Recipe, network: nn.Module, dataset: Dataset) -> list[str]:
    """What a person should know of ``network``, an untrained one of ``recipe``, each in one line."""
    where = f"recipe {recipe.label!r}: network {recipe.settings.network!r}"
    remarks = warnings_about(network, where)
    images = to_float(dataset.x_test[:PROBE_IMAGES])
    if needs_contiguous(network, images):
        remarks.append(contiguous_remark(where))
        images = contiguous(images)
    if ":" in recipe.settings.network:
        with blamed(where, "network"):
            seen = about_network(network, images)
        remarks += [f"{where}: {remark}" for remark in seen]
    return remarks


def _check_published(plan: Plan, ensemble: Trained | Given) -> None:
    """See that the weights of ``ensemble`` are whole, if they are published ones."""
    if isinstance(ensemble, Trained) and plan.is_published(ensemble):
        load_trained(plan.home(ensemble), ensemble.recipe)


def _dataset(step: Step) -> tuple[str, int]:
    """The dataset that a step works on, what it trains on or what it attacks, and the pixels of its largest image."""
    settings = step.ensemble.recipe.settings if isinstance(step, TrainStep) else step.protocol.settings
    return settings.dataset, settings.max_pixels


def _check_images(plan: Plan, step: AttackStep, dataset: Dataset) -> None:
    """See that target and surrogates of ``step``, trained on other images, take those of ``dataset``."""
    got = dataset.num_classes, dataset.x_test.shape[1]
    for ensemble in (step.target, *step.sources):
        record = plan.record(ensemble)
        if record is None:
            trained_on = plan.workplace.dataset(ensemble.dataset, step.protocol.settings.max_pixels)
            expected = trained_on.num_classes, trained_on.x_test.shape[1]
        else:
            expected = record.classes, record.channels
        if expected != got:
            raise UserError(
                f"protocol {step.protocol.label!r}: key 'dataset': expected images of {expected[0]} classes and "
                f"{expected[1]} channels as {ensemble.where} takes, got {got[0]} and {got[1]} in {dataset.name!r}"
            )
        if isinstance(ensemble, Trained):
            check_network(ensemble.recipe, dataset.x_test.shape[1:], dataset.num_classes)


Loaded = dict[tuple[str, str], Subject]
"""Ensembles by their id and recipe hash."""

MOST_AT_ONCE = 2
"""Steps that run at a time. Each has several threads of its own, and all share one interpreter."""


def run(plan: Plan, finished: Callable[[Step], None] | None = None) -> None:
    """Carry out what is due, in order, or where one core is enough for a step, several steps at a time.

    What runs beside a step changes no bit of what it leaves. ``finished`` is called with each step that is done. The
    run directory is held, and the plan was made since: what finished steps did not remove is removed first.
    """
    for path in leftovers(plan):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    loaded: Loaded = {}
    before = torch.get_num_threads()
    cores = plan.workplace.threads or before
    watched = copy(plan)

    def carry_out(step: Step) -> None:
        with share_cores(cores, plan.workplace.dataset(*_dataset(step)).image_size) as workers:
            if isinstance(step, TrainStep):
                _train(watched, step, workers)
            else:
                _attack(watched, step, loaded, workers)

    most = min(cores, MOST_AT_ONCE)
    lanes = Lanes(plan.due, partial(_bounds, plan), carry_out, finished or (lambda step: None), most)
    watched.workplace = replace(plan.workplace, progress=lanes.watched(plan.workplace.progress))
    try:
        with full_precision():
            lanes.run()
    finally:
        torch.set_num_threads(before)  # the steps' threads have set a part of it for the whole process


def _bounds(plan: Plan, step: Step) -> Bounds:
    """What ``step`` waits for: ensembles, and what an earlier attack crafts on the same surrogates.

    A step runs alone if its operations take several cores, or if code from outside may draw from the process's
    generators.
    """
    if isinstance(step, TrainStep):
        ensembles = [step.ensemble]
        parent = step.ensemble.parent
        needs: set[Hashable] = set() if parent is None else {parent.key}
        makes: set[Hashable] = {step.ensemble.key}
    else:
        ensembles = [one for one in (step.target, *step.sources) if isinstance(one, Trained)]
        makes = {("crafted", *source.key) for source in step.sources}
        needs = makes | {ensemble.key for ensemble in ensembles}
    small = is_small(plan.workplace.dataset(*_dataset(step)).image_size)
    outside = isinstance(step, AttackStep) and (
        isinstance(step.target, Given) or step.protocol.settings.kind not in KINDS
    )
    for ensemble in ensembles:
        settings = ensemble.recipe.settings
        outside |= ":" in settings.method or ":" in settings.network
    return Bounds(frozenset(needs), frozenset(makes), alone=outside or not small or plan.workplace.device != "cpu")


def leftovers(plan: Plan) -> list[Path]:
    """What finished steps did not remove because they were killed: the state that they would have resumed from."""
    store = plan.workplace.store
    found = []
    for step in plan.steps:
        if step.done and isinstance(step, TrainStep):
            if plan.is_published(step.ensemble):
                continue  # a training that was begun here is not finished: it goes on from there
            found.append(run_dir(store, step.ensemble.recipe, step.ensemble.seed) / RESUME)
        elif isinstance(step, AttackStep) and step.done and (record := plan.record(step.target)) is not None:
            found.append(parts_folder(outcomes_file(store, step.protocol, record)))
    return [path for path in found if path.exists()]


def _train(plan: Plan, step: TrainStep, workers: int) -> None:
    workplace = plan.workplace
    if step.why is not None:
        workplace.progress.message(f"{step.why}; training again, the older run stays")
    recipe, seed = step.ensemble.recipe, step.ensemble.seed
    folder = run_dir(workplace.store, recipe, seed)
    stale = read_record(folder)
    if stale is not None:
        aside = inside(folder.parent, f"{folder.name}.stale-{stale.fingerprint[:8]}", f"{folder / RECORD}: fingerprint")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}+")
        workplace.progress.message(
            f"{step.ensemble.id}: its data or its parent changed; the old run is kept as {aside}"
        )
        folder.rename(aside)
    if plan.serving.is_published_on_other_images(step.ensemble):
        workplace.progress.message(
            f"{step.ensemble.id}: trained here, for the published weights are of other images than "
            f"{recipe.settings.dataset!r} has"
        )
    start = None
    if step.ensemble.parent is not None:
        start = plan.home(step.ensemble.parent)
        _say_published(plan, step.ensemble.parent)
    hook = workplace.epoch_hook(folder) if workplace.epoch_hook else None
    dataset = workplace.dataset(recipe.settings.dataset, recipe.settings.max_pixels)
    train(
        recipe,
        seed,
        dataset,
        workplace.store,
        device=workplace.device,
        start=start,
        progress=workplace.progress,
        on_epoch=hook,
        workers=workers,
    )


def _attack(plan: Plan, step: AttackStep, loaded: Loaded, workers: int) -> None:
    workplace = plan.workplace
    if step.why is not None:
        workplace.progress.message(f"{step.why}; attacking again")
    for ensemble in (step.target, *step.sources):
        if (ensemble.id, ensemble.hash) not in loaded:
            loaded[ensemble.id, ensemble.hash] = _load(plan, ensemble)
    folder = plan.home(step.target) if isinstance(step.target, Trained) else None
    target, *sources = (
        replace(subject, record=plan.attacked(step.protocol, subject.record))
        for ensemble in (step.target, *step.sources)
        for subject in [loaded[ensemble.id, ensemble.hash]]
    )
    evaluate(
        step.protocol,
        target,
        sources,
        workplace.dataset(*_dataset(step)),
        workplace.store,
        device=workplace.device,
        workers=workers,
        batch_size=workplace.batch_size,
        history=read_numbers(folder / HISTORY, "epoch") if folder else None,
        monitored=read_numbers(folder / MONITORED, "step") if folder else None,
        progress=workplace.progress,
    )


def _load(plan: Plan, ensemble: Trained | Given) -> Subject:
    if isinstance(ensemble, Given):
        return ensemble.subject
    _say_published(plan, ensemble)
    origin = plan.serving.origin(ensemble)
    loaded, record = load_trained(origin.folder, ensemble.recipe)
    if not record.sealed:
        plan.workplace.progress.message(f"{ensemble.id}: its record is of an earlier version: no digest")
    return Subject(loaded, record, origin.kind)


def _say_published(plan: Plan, ensemble: Trained) -> None:
    if plan.is_published(ensemble):
        instead = plan.serving.instead_of(ensemble)
        why = f", for {instead}" if instead else ""
        plan.workplace.progress.message(f"{ensemble.id}: published weights, from {plan.home(ensemble)}{why}")
