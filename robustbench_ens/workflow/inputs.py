"""Checks of a plan's inputs before anything is computed, so that a mistake costs no training."""

from __future__ import annotations

from torch import nn

from robustbench_ens.config.recipes import Recipe
from robustbench_ens.data import Dataset, small_shape, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.images import check_count
from robustbench_ens.evaluation.inspection import PROBE_IMAGES
from robustbench_ens.evaluation.soundness import about_network
from robustbench_ens.models.build import check_network
from robustbench_ens.models.external import blamed
from robustbench_ens.models.layout import contiguous, contiguous_remark, needs_contiguous
from robustbench_ens.models.pointwise import warnings_about
from robustbench_ens.training.monitor import check_monitor
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.weights.trained import load_trained
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.steps import AttackStep, TrainStep, record_of
from robustbench_ens.workflow.targets import ExternalModel


def check_inputs(plan: Plan) -> None:
    """Check the data and networks of the due steps before anything is computed.

    Raises:
        UserError: a dataset is missing, damaged or too small, a network does not take its images, or published weights
            are damaged.
    """
    warned: dict[str, None] = {}
    for step in plan.due:
        dataset = plan.workplace.dataset(*step.images)
        if isinstance(step, TrainStep):
            recipe = step.ensemble.recipe
            dataset.check_trainable(f"recipe {recipe.label!r}: key 'dataset': ", _without_training(plan, step))
            shape = dataset.x_test.shape[1:]
            network = check_network(recipe, shape, dataset.num_classes)
            if resizing := recipe.settings.progressive_resizing:
                small = small_shape(shape, resizing.size, f"recipe {recipe.label!r}: ")
                check_network(recipe, small, dataset.num_classes)
            num_layers = getattr(network, "num_layers", None)
            where = f"recipe {recipe.label!r}"
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
        else:
            check_count(step.protocol, len(dataset.y_test), dataset.name)
            for ensemble in (step.target, *step.sources):
                _check_published(plan, ensemble)
                # Remarks on a user's network are repeated when it is attacked: they bear on the numbers.
                if isinstance(ensemble, TrainingRun) and ":" in ensemble.recipe.settings.network:
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
    """Return the advice to a user who has no training images for ``step``."""
    folder = run_dir(plan.workplace.store, step.ensemble.recipe, step.ensemble.seed)
    if read_record(folder) is not None:
        return f"{folder} was trained on other images of that name: bring its train split back"
    return (
        "add a train split, attack a model that needs no training with --model, or attack what was trained on another "
        "dataset by a protocol with 'trained_on'"
    )


def _remarks(recipe: Recipe, network: nn.Module, dataset: Dataset) -> list[str]:
    """Return remarks on ``network``, an untrained network of ``recipe``, each in one line."""
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


def _check_published(plan: Plan, ensemble: TrainingRun | ExternalModel) -> None:
    """Check that the weights of ``ensemble`` are whole if published ones are used."""
    if isinstance(ensemble, TrainingRun) and plan.workplace.library.is_published(ensemble):
        load_trained(plan.workplace.library.home(ensemble), ensemble.recipe)


def _check_images(plan: Plan, step: AttackStep, dataset: Dataset) -> None:
    """Check that target and surrogates of ``step``, trained on other images, take those of ``dataset``."""
    got = (dataset.num_classes, dataset.x_test.shape[1])
    for ensemble in (step.target, *step.sources):
        record = record_of(plan.workplace, ensemble)
        if record is None:
            trained_on = plan.workplace.dataset(ensemble.dataset, step.protocol.settings.max_pixels)
            expected = (trained_on.num_classes, trained_on.x_test.shape[1])
        else:
            expected = (record.classes, record.channels)
        if expected != got:
            raise UserError(
                f"protocol {step.protocol.label!r}: key 'dataset': expected images of {expected[0]} classes and "
                f"{expected[1]} channels as {ensemble.where} takes, got {got[0]} and {got[1]} in {dataset.name!r}"
            )
        if isinstance(ensemble, TrainingRun):
            check_network(ensemble.recipe, dataset.x_test.shape[1:], dataset.num_classes)
