"""Plans: steps in order of their dependencies, and which of them are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.evaluation.changed import since_attacked
from robustbench_ens.evaluation.kinds.blackbox import check_hold_out
from robustbench_ens.models.build import network_builder
from robustbench_ens.weights.changed import since_trained
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.steps import AttackStep, Step, TrainStep, attacked, record_of
from robustbench_ens.workflow.targets import ExternalModel, compatible_surrogates
from robustbench_ens.workflow.timings import Timings


class Plan:
    """A list of steps without repeats, in an order in which each finds what it needs.

    Args:
        workplace: the place where it is carried out.
        published: whether published weights are used if nothing was trained here, but for ensembles of :meth:`train`.
    """

    def __init__(self, workplace: Workplace, published: bool = False) -> None:
        self.workplace = replace(workplace, published=published, here=set())
        self.steps: list[Step] = []
        self._planned: dict[tuple[str, int], bool] = {}
        self._attacks: set[tuple[str, str, str]] = set()

    @cached_property
    def timings(self) -> Timings:
        """The expected times of trainings and attacks."""
        place = self.workplace
        return Timings(place.store, place.threads or torch.get_num_threads(), place.device)

    def train(self, ensembles: Sequence[TrainingRun]) -> None:
        """Plan to train these ensembles here, even if they are published, and the ensembles that they start from."""
        self.workplace.here.update(ensemble.key for ensemble in ensembles)
        for ensemble in ensembles:
            self.add_training(ensemble)

    def add_training(self, ensemble: TrainingRun) -> bool:
        """Plan an ensemble and the one that it starts from, and return whether it is done already."""
        ensemble = ensemble.trained
        if ensemble.key not in self._planned:
            network_builder(ensemble.recipe)
            done = record_of(self.workplace, ensemble) is not None
            # Published weights need no parent, and a finished ensemble needs none whose own weights were deleted.
            parent = None if self.workplace.library.is_published(ensemble) else ensemble.parent
            if parent is not None and not (done and record_of(self.workplace, parent) is None):
                self.add_training(parent)
            self._planned[ensemble.key] = done
            why = None if done else since_trained(self.workplace.store, ensemble.recipe, ensemble.seed)
            timing = self.timings.training(ensemble.recipe)
            self.steps.append(TrainStep(ensemble, done, timing, why))
        return self._planned[ensemble.key]

    def add_attack(self, protocol: Protocol, target: TrainingRun | ExternalModel) -> None:
        """Plan a protocol against a target, with the training of both target and surrogates.

        Raises:
            UserError: the errors of :func:`~robustbench_ens.workflow.targets.compatible_surrogates`.
        """
        sources = compatible_surrogates(protocol, target)
        key = (protocol.hash, target.hash, target.id)
        if key in self._attacks:
            return
        self._attacks.add(key)
        to_train = [ensemble for ensemble in (target, *sources) if isinstance(ensemble, TrainingRun)]
        ready = [self.add_training(ensemble) for ensemble in to_train]
        if all(ready):
            self._check_hold_out(target, sources)
        done = all(ready) and AttackStep(protocol, target, sources, False, None).is_done(self.workplace)
        timing = self.timings.evaluation(protocol, target)
        why = None
        if isinstance(target, ExternalModel) and not done:
            why = since_attacked(
                self.workplace.store, protocol, attacked(self.workplace, protocol, target.model.record)
            )
        self.steps.append(AttackStep(protocol, target, sources, done, timing, why))

    def _check_hold_out(self, target: TrainingRun | ExternalModel, sources: Sequence[TrainingRun]) -> None:
        """Check by the existing records that no surrogate shares an ancestor with the target."""
        records = [record for one in (target, *sources) if (record := record_of(self.workplace, one))]
        for record in records[1:]:
            check_hold_out(records[0], record)

    def renewed(self) -> Plan:
        """Return a plan of the same steps that takes into account what was finished since."""
        plan = Plan(self.workplace, self.workplace.published)
        plan.workplace.here.update(self.workplace.here)
        # Reading times takes every file of the run directory, and they do not change what is due.
        plan.timings = self.timings
        for step in self.steps:
            if isinstance(step, TrainStep):
                plan.add_training(step.ensemble)
            else:
                plan.add_attack(step.protocol, step.target)
        return plan

    @property
    def due(self) -> list[Step]:
        """The steps still to run, in order."""
        return [step for step in self.steps if not step.done]

    def outcome_targets(self) -> list[AttackStep]:
        """Return the attack steps, in order."""
        return [step for step in self.steps if isinstance(step, AttackStep)]
