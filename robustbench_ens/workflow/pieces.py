"""Pieces: the units that one worker runs. They follow from the plan alone, never from the workers.

A training is one piece. An attack is split into several: images crafted on surrogates, which all targets share, parts
of the evaluation, and a last piece that joins the parts and computes any that are missing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.protocols.bases import ByGradient, Sized
from robustbench_ens.core.locks import hold_artefact
from robustbench_ens.core.parallel import is_small, share_cores
from robustbench_ens.evaluation.images import chosen_indices
from robustbench_ens.evaluation.kinds.blackbox import Bench, crafted_path
from robustbench_ens.evaluation.partition import Group, Product, crafted_by
from robustbench_ens.evaluation.record import is_part_done
from robustbench_ens.evaluation.runner import Resources, craft_product, evaluate_parts
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.steps import AttackStep, TrainStep, attacked, load_model, names_code, record_of
from robustbench_ens.workflow.timings import Timing, Timings


@dataclass(frozen=True)
class CraftPiece:
    """The crafting of the images of one surrogate, variant and eps.

    Attributes:
        protocol: one of the protocols that share the images.
        product: the variant and eps.
        source: the surrogate.
        timing: expected time, if it is known.
        done: whether the attack was done when the piece was planned.
    """

    protocol: Protocol
    product: Product
    source: TrainingRun
    timing: Timing | None = None
    done: bool = False

    @property
    def title(self) -> str:
        """The name that is displayed."""
        product = self.product
        steps = f" in {product.steps} steps" if product.steps else ""
        return f"craft {product.variant.key} eps-{product.eps}{steps} on {self.source.id}"

    @property
    def seconds(self) -> float | None:
        """The expected seconds, if they are known."""
        return None if self.timing is None else self.timing.seconds

    @property
    def attacked(self) -> TrainingRun:
        """The ensemble whose gradients it takes."""
        return self.source

    @property
    def gradients(self) -> float:
        """The number of gradients of one image that it takes."""
        settings = self._settings
        return float(settings.images * settings.steps)

    def measured(self, timings: Timings) -> Timing | None:
        """Return the time by that of earlier crafting with the same attack on the same surrogate."""
        return timings.crafting(self.source.recipe, self.product.variant.attack, self.gradients)

    @property
    def images(self) -> tuple[str, int]:
        """The dataset that it crafts from, and the pixels of its largest image."""
        return self.protocol.settings.dataset, self.protocol.settings.max_pixels

    @property
    def runs_outside_code(self) -> bool:
        """True if code from outside the project runs, which may draw from the process's generators."""
        return names_code(self.source)

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what it needs from earlier pieces: the surrogate."""
        return frozenset([self.source.key])

    @cached_property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later pieces may need: the images, under whichever protocol."""
        settings = self._settings
        precision = settings.precision if isinstance(settings, ByGradient) else "fp32"
        how = (settings.steps, settings.step_size, precision, settings.seed, settings.numerics)
        data = (settings.dataset, settings.max_pixels, settings.images, settings.test_half)
        product = self.product
        return frozenset([("crafted", self.source.key, data, how, product.variant, product.eps)])

    @property
    def _settings(self) -> Sized:
        settings = crafted_by(self.protocol.settings, self.product)
        assert isinstance(settings, Sized)
        return settings

    def is_done(self, place: Workplace) -> bool:
        """Return whether the images exist."""
        path = self._path(place)
        return path is not None and path.exists()

    def _path(self, place: Workplace) -> Path | None:
        """Return the path of the images, or None if the surrogate is not trained."""
        settings = self._settings
        record = record_of(place, self.source)
        if record is None:
            return None
        dataset = place.dataset(settings.dataset, settings.max_pixels)
        indices = chosen_indices(settings, len(dataset.y_test)).tolist()
        bench = Bench(settings, dataset.digest, indices)
        product = self.product
        source = attacked(place, self.protocol, record)
        return crafted_path(place.store, bench, source, product.variant, product.eps)

    def run(self, place: Workplace) -> None:
        """Craft, unless another process has done so meanwhile.

        Raises:
            HeldError: another process is crafting them.
        """
        path = self._path(place)
        if path is not None:
            with hold_artefact(path):  # raises at once if it is held; crafting would wait and keep this worker idle
                pass
        settings = self._settings
        dataset = place.dataset(settings.dataset, settings.max_pixels)
        with share_cores(place.threads, dataset.image_size) as workers:
            source = load_model(place, self.protocol, self.source)
            craft_product(self.protocol, self.product, source, dataset, place.store, _resources(place, workers))


@dataclass(frozen=True)
class PartsPiece:
    """The computation of some parts of an attack.

    Attributes:
        attack: the attack.
        group: the parts.
        reads: names of the crafted images that they need.
        timing: expected time, if it is known.
    """

    attack: AttackStep
    group: Group
    reads: frozenset[Hashable] = frozenset()
    timing: Timing | None = None

    @property
    def title(self) -> str:
        """The name that is displayed."""
        return f"{self.attack.title}: {self.group.title}"

    @property
    def done(self) -> bool:
        """True if the attack was done when it was planned."""
        return self.attack.done

    @property
    def seconds(self) -> float | None:
        """The expected seconds, if they are known."""
        return None if self.timing is None else self.timing.seconds

    @property
    def attacked(self) -> TrainingRun:
        """The ensemble whose gradients it takes."""
        assert isinstance(self.attack.target, TrainingRun)  # external models are attacked in one piece
        return self.attack.target

    @property
    def gradients(self) -> float:
        """The number of gradients of one image that it takes."""
        return self.group.gradients

    def measured(self, timings: Timings) -> Timing | None:
        """Return the time that these parts of the protocol took against targets of the same recipe."""
        return timings.group(self.attack.protocol, self.attack.target, self.group.title)

    @property
    def images(self) -> tuple[str, int]:
        """The dataset that it attacks, and the pixels of its largest image."""
        return self.attack.images

    @property
    def runs_outside_code(self) -> bool:
        """True if code from outside the project runs, which may draw from the process's generators."""
        return self.attack.runs_outside_code

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what it needs from earlier pieces: ensembles and crafted images."""
        return self.reads | {ensemble.key for ensemble in self.attack.ensembles}

    @property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later pieces may need: its parts."""
        return frozenset(("part", *_key(self.attack), name) for name in self.group.parts)

    def is_done(self, place: Workplace) -> bool:
        """Return whether its parts, or all outcomes, exist."""
        step = self.attack
        found = [record_of(place, ensemble) for ensemble in (step.target, *step.sources)]
        records = [attacked(place, step.protocol, record) for record in found if record is not None]
        if len(records) < len(found):
            return False
        done = all(is_part_done(place.store, step.protocol, records, part) for part in self.group.parts)
        return done or step.is_done(place)

    def run(self, place: Workplace) -> None:
        """Compute the parts that do not exist yet."""
        step = self.attack
        if step.is_done(place):
            return
        dataset = place.dataset(*step.images)
        with share_cores(place.threads, dataset.image_size) as workers:
            target, *sources = (load_model(place, step.protocol, one) for one in (step.target, *step.sources))
            resources = _resources(place, workers)
            evaluate_parts(step.protocol, target, sources, dataset, place.store, self.group.parts, resources)


@dataclass(frozen=True)
class JoinPiece:
    """The joining of the parts of an attack into outcomes. It computes parts that are missing.

    Attributes:
        attack: the attack.
        parts: names of the parts that other pieces make.
        timing: expected time, if it is known.
    """

    attack: AttackStep
    parts: frozenset[Hashable]
    timing: Timing | None = None

    @property
    def title(self) -> str:
        """The name that is displayed."""
        return f"{self.attack.title}: outcomes" if self.parts else self.attack.title

    @property
    def done(self) -> bool:
        """True if the attack was done when it was planned."""
        return self.attack.done

    @property
    def seconds(self) -> float | None:
        """The expected seconds, if they are known."""
        return None if self.timing is None else self.timing.seconds

    @property
    def images(self) -> tuple[str, int]:
        """The dataset that it attacks, and the pixels of its largest image."""
        return self.attack.images

    @property
    def runs_outside_code(self) -> bool:
        """True if code from outside the project runs, which may draw from the process's generators."""
        return self.attack.runs_outside_code

    @property
    def needs(self) -> frozenset[Hashable]:
        """The names of what it needs from earlier pieces: ensembles and parts."""
        return self.parts | {ensemble.key for ensemble in self.attack.ensembles}

    @property
    def makes(self) -> frozenset[Hashable]:
        """The names of what later pieces may need: the outcomes."""
        return frozenset([("outcomes", *_key(self.attack))])

    def is_done(self, place: Workplace) -> bool:
        """Return whether the outcomes exist."""
        return self.attack.is_done(place)

    def run(self, place: Workplace) -> None:
        """Write the outcomes."""
        self.attack.run(place)


Piece = TrainStep | AttackStep | CraftPiece | PartsPiece | JoinPiece
"""A unit that an executor runs. An attack that is not split is a piece itself."""


def runs_alone(piece: Piece, place: Workplace) -> bool:
    """Return whether no piece may run beside ``piece`` in one process.

    That holds if its operations take several cores, or if code from outside may draw from the process's generators.
    """
    small = is_small(place.dataset(*piece.images).image_size)
    return piece.runs_outside_code or not small or place.device != "cpu"


def step_of(piece: Piece) -> TrainStep | AttackStep | None:
    """Return the step that ends with ``piece``, or None if it ends with a later one."""
    if isinstance(piece, TrainStep | AttackStep):
        return piece
    return piece.attack if isinstance(piece, JoinPiece) else None


def _key(step: AttackStep) -> tuple[str, str, str]:
    return step.protocol.hash, step.target.hash, step.target.id


def _resources(place: Workplace, workers: int) -> Resources:
    return Resources(place.device, workers, place.batch_size, place.progress)
