"""Carry a plan out: look at the inputs first, then train and attack in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.evaluate import KINDS, evaluate
from robustbench_ens.evaluation.job import Subject
from robustbench_ens.models.build import check_network
from robustbench_ens.models.trained import HISTORY, MONITORED, load_trained, read_record, run_dir
from robustbench_ens.plan import AttackStep, Given, Plan, Trained, TrainStep, Workplace
from robustbench_ens.training.monitor import check_monitor
from robustbench_ens.training.trainer import train


def check_inputs(plan: Plan) -> None:
    """Load the data of what is due and see that it fits, so that a mistake costs no training.

    Raises:
        UserError: a dataset is missing or damaged, has too few images, or a network does not take it; published weights
            are damaged.
    """
    for step in plan.due:
        dataset = plan.workplace.dataset((step.ensemble if isinstance(step, TrainStep) else step.target).dataset)
        if isinstance(step, TrainStep):
            recipe = step.ensemble.recipe
            network = check_network(recipe, dataset.x_test.shape[1:], dataset.num_classes)
            num_layers, where = getattr(network, "num_layers", None), f"recipe {recipe.label!r}"
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
        elif step.protocol.settings.images > len(dataset.y_test):
            raise UserError(
                f"protocol {step.protocol.label!r}: key 'images': expected at most {len(dataset.y_test)}, all test "
                f"images of {dataset.name!r}, got {step.protocol.settings.images}"
            )
        else:
            for ensemble in (step.target, *step.sources):
                if isinstance(ensemble, Trained) and plan.is_published(ensemble):
                    load_trained(plan.home(ensemble), ensemble.recipe)
            KINDS[step.protocol.settings.kind].check(step.protocol.settings)
            KINDS[step.protocol.settings.kind].fits(step.protocol.settings, dataset.num_classes)


Loaded = dict[tuple[str, str], Subject]
"""Ensembles by their id and recipe hash."""

SMALL_PIXELS = 16 * 16
"""Images up to this size are computed on one thread each, several batches or sub-models at a time. Threads inside the
small layers gain little, lose several times over where another process wants the cores, and make the bits depend on the
machine's number of cores."""


@contextmanager
def share_cores(cores: int | None, image_size: tuple[int, int]) -> Iterator[int]:
    """Give this thread ``cores`` (none is all of them) inside an operation; gives the workers that share them.

    On images up to :data:`SMALL_PIXELS` operations have one core each, and only the workers go side by side.
    """
    before = torch.get_num_threads()
    height, width = image_size
    small = height * width <= SMALL_PIXELS
    torch.set_num_threads(1 if small else cores or before)
    try:
        yield cores or before
    finally:
        torch.set_num_threads(before)


def run(plan: Plan) -> None:
    """Carry out what is due, in order."""
    loaded: Loaded = {}
    place = plan.workplace
    for step in plan.due:
        ensemble = step.ensemble if isinstance(step, TrainStep) else step.target
        with share_cores(place.threads, place.dataset(ensemble.dataset).image_size) as workers:
            if isinstance(step, TrainStep):
                _train(place, step, workers)
            else:
                _attack(plan, step, loaded, workers)


def _train(workplace: Workplace, step: TrainStep, workers: int) -> None:
    recipe, seed = step.ensemble.recipe, step.ensemble.seed
    folder = run_dir(workplace.store, recipe, seed)
    stale = read_record(folder)
    if stale is not None:
        aside = folder.with_name(f"{folder.name}.stale-{stale.fingerprint[:8]}")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}+")
        workplace.progress.message(
            f"{step.ensemble.id}: its data or its parent changed; the old run is kept as {aside}"
        )
        folder.rename(aside)
    hook = workplace.epoch_hook(folder) if workplace.epoch_hook else None
    dataset = workplace.dataset(recipe.settings.dataset)
    train(
        recipe,
        seed,
        dataset,
        workplace.store,
        device=workplace.device,
        progress=workplace.progress,
        on_epoch=hook,
        workers=workers,
    )


def _attack(plan: Plan, step: AttackStep, loaded: Loaded, workers: int) -> None:
    workplace = plan.workplace
    for ensemble in (step.target, *step.sources):
        if (ensemble.id, ensemble.hash) not in loaded:
            loaded[ensemble.id, ensemble.hash] = _load(plan, ensemble)
    target = step.target
    folder = plan.home(target) if isinstance(target, Trained) else None
    evaluate(
        step.protocol,
        loaded[step.target.id, step.target.hash],
        [loaded[source.id, source.hash] for source in step.sources],
        workplace.dataset(step.target.dataset),
        workplace.store,
        device=workplace.device,
        workers=workers,
        history=_numbers(folder / HISTORY, "epoch") if folder else None,
        monitored=_numbers(folder / MONITORED, "step") if folder else None,
        progress=workplace.progress,
    )


def _load(plan: Plan, ensemble: Trained | Given) -> Subject:
    if isinstance(ensemble, Given):
        return ensemble.subject
    folder = plan.home(ensemble)
    if folder != run_dir(plan.workplace.store, ensemble.recipe, ensemble.seed):
        plan.workplace.progress.message(f"{ensemble.id}: published weights, from {folder}")
    return Subject(*load_trained(folder, ensemble.recipe))


def _numbers(path: Path, counter: str) -> pd.DataFrame | None:
    """A table of numbers that a training left, one row for each value of ``counter``; none if there is no file."""
    if not path.exists():
        return None
    try:
        frame = pd.read_csv(path)
    except ValueError as error:  # pandas' own errors are among these
        raise UserError(f"{path}: expected a training history, got a damaged file ({error}); delete it") from None
    if counter not in frame or not all(map(pd.api.types.is_numeric_dtype, frame.dtypes)):
        raise UserError(f"{path}: expected a training history, got another table of numbers; delete it")
    return frame
