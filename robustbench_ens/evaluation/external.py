"""External models, given as modules, through the same evaluation as trained ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from robustbench_ens.config.identity import Code
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.config.schema import Probe
from robustbench_ens.core.limits import check_name, shown
from robustbench_ens.core.parallel import share_cores
from robustbench_ens.core.progress import Progress
from robustbench_ens.core.store import Store, digest_json, short_hash
from robustbench_ens.data.arguments import checked_images, checked_integers
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.inspection import PROBE_IMAGES, Inspection, inspect_model
from robustbench_ens.evaluation.job import Subject
from robustbench_ens.evaluation.runner import evaluate_images
from robustbench_ens.models.adapted import adapted
from robustbench_ens.models.build import count_parameters
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.layout import contiguous
from robustbench_ens.models.probe import probe
from robustbench_ens.models.restore import check_filled
from robustbench_ens.outcomes import OWN_MODEL, OutcomeFile, read_outcomes
from robustbench_ens.weights.record import EnsembleRecord
from robustbench_ens.weights.trained import digest_state


@dataclass(frozen=True)
class UserModel:
    """A user's module and what it is called.

    Attributes:
        module: on the device to compute on.
        name: what outcomes call it.
        where: what errors and remarks begin with.
        code: identifies its code where outcomes are kept, so that a later command can tell whether it is still the
            same; None where nothing is kept.
    """

    module: nn.Module
    name: str
    where: str
    code: Code | None = None


class Shown(NamedTuple):
    """The images that models are shown before anything is computed, ``(B, C, H, W)``, and the data they are from.

    ``classes`` is how many a model must have; None for any number from two.
    """

    images: Tensor
    classes: int | None
    dataset: str
    data_digest: str


class Inspected(NamedTuple):
    """An external model as it is evaluated, and what a person should know of it."""

    subject: Subject
    remarks: list[str]


def inspected(model: UserModel, images: Shown, protocol: Protocol, *, is_target: bool = True) -> Inspected:
    """Inspect a model as what ``protocol`` attacks or, if it is no target, crafts on.

    Raises:
        UserError: it cannot be evaluated, see :func:`~robustbench_ens.evaluation.inspection.inspect_model`.
    """
    facts = protocol.settings.facts
    transfers = bool(getattr(protocol.settings, "surrogates", ()))
    members = is_target and facts.fewest_sub_models > 0
    # Where there are surrogates, the target's own gradient is followed by no kind but those that look at sub-models.
    gradient = facts.crafts and (members or transfers != is_target)
    seen = inspect_model(model.module, images.images, images.classes, model.where, members=members, gradient=gradient)
    attacked = adapted(model.module, changes_input=seen.changes_input, converts=seen.converts)
    recognised = None
    if model.code is not None and seen.steady:
        recognised = probe(attacked, contiguous(images.images), seen.scores)
    record = external_record(model, seen, images, recognised)
    # A kind that asks for sub-models is refused where there are none; others need no more than a module.
    return Inspected(Subject(cast(Ensemble, attacked), record), seen.remarks)


def external_record(
    model: UserModel, seen: Inspection, images: Shown, recognised: Probe | None = None
) -> EnsembleRecord:
    """Describe an external model in the words for a trained ensemble.

    Its hash covers its name, its weights and its code, which decides as much as weights do. ``recognised`` is compared
    with a tolerance and is part of no hash.

    Raises:
        UserError: files cannot be named after it.
    """
    module = model.module
    check_name(model.name, f"model {shown(model.name)}")
    members = sub_models(module)
    first = members[0] if members else module
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    weights = digest_state(state)
    decided = {"model": model.name, "weights": weights, "code": model.code or {}}
    return EnsembleRecord(
        id=model.name,
        recipe=model.name,
        label=model.name,
        recipe_hash=short_hash(decided),
        seed=0,
        fingerprint=digest_json(decided),
        weights=weights,
        dataset=images.dataset,
        data_digest=images.data_digest,
        method=OWN_MODEL,
        network=type(first.model if isinstance(first, SubModel) else first).__name__,
        sub_models=max(len(members), 1),
        channels=images.images.shape[1],
        classes=seen.scores.shape[1],
        parameters=count_parameters(module),
        lineage=[f"{OWN_MODEL} {weights}"],
        resolved={"model": model.name},
        training=None,
        code=model.code or None,
        probe=recognised,
    )


@dataclass(frozen=True)
class Arrays:
    """Images ``(N, C, H, W)``, labels ``(N,)`` and places in the dataset ``(N,)``, on the CPU."""

    images: Tensor
    labels: Tensor
    indices: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[2], self.images.shape[3]

    @cached_property
    def digest(self) -> str:
        """Of images and labels."""
        return digest_state({"images": self.images, "labels": self.labels})


def checked_arrays(images: Any, labels: Any, indices: Any, model: nn.Module) -> Arrays:
    """Copy what a caller gives for ``model``; ``indices`` may be None.

    Raises:
        UserError: they are not such arrays, or an index is there twice.
    """
    with torch.inference_mode(mode=False):  # whose tensors have no gradients
        images = checked_images(images, model)
    labels = checked_integers("labels", labels, len(images))
    if indices is None:
        indices = torch.arange(len(images), device="cpu")
    else:
        indices = checked_integers("indices", indices, len(images))
    if len(indices.unique()) < len(indices):
        raise UserError(f"indices: expected {len(indices)} different integers, got some more than once")
    return Arrays(images, labels, indices)


def checked_modules(model: Any, surrogates: Any) -> tuple[nn.Module, ...]:
    """Return the model and its surrogates.

    Raises:
        UserError: one of them is no module, or has no weights yet.
    """
    if not isinstance(surrogates, Sequence):
        raise UserError(f"surrogates: expected a list of nn.Modules, got {type(surrogates).__name__}")
    given = {"model": model} | {f"surrogates[{index}]": module for index, module in enumerate(surrogates)}
    for what, module in given.items():
        if isinstance(module, type) and issubclass(module, nn.Module):
            raise UserError(f"{what}: expected an nn.Module, got the class {module.__name__}; give an instance of it")
        if not isinstance(module, nn.Module):
            hint = "; an nn.Module whose forward calls it will do" if callable(module) else ""
            raise UserError(f"{what}: expected an nn.Module, got {type(module).__name__}{hint}")
        check_filled(module, what)
    return tuple(given.values())


def check_takes(protocol: Protocol, surrogates: int) -> None:
    """Check that ``protocol`` attacks the images that it is given, with this number of surrogates.

    Raises:
        UserError: it does not.
    """
    if protocol.settings.facts.own_images:
        raise UserError(
            f"protocol {protocol.label!r}: expected a kind that attacks the given images, got "
            f"{protocol.settings.kind!r}, which brings its own; use `rbe attack`"
        )
    wanted = getattr(protocol.settings, "surrogates", ())
    if surrogates != len(wanted):
        names = ", ".join(f"{surrogate.recipe} with seed {surrogate.seed}" for surrogate in wanted)
        hint = f" in place of {names}; `load_ensemble` gives those that are trained" if names else ""
        raise UserError(
            f"surrogates: expected {len(wanted)} modules, as protocol {protocol.label!r} has surrogates, got "
            f"{surrogates}{hint}"
        )


def checked_device(device: torch.device | str) -> torch.device:
    """Return the device.

    Raises:
        UserError: it is not available.
    """
    try:
        checked = torch.device(device)
        torch.zeros(1, dtype=torch.float32, device=checked).cpu()
    except (AssertionError, RuntimeError, TypeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"device: expected cpu, cuda or cuda:N that is there, got {device!r}: {why}") from None
    return checked


@dataclass(frozen=True)
class ArraysEvaluation:
    """The evaluation of modules on arrays, of which nothing is kept.

    Attributes:
        protocol: what to run.
        modules: the target, then the surrogates.
        names: what outcomes call them.
        arrays: what is attacked.
        device: where to compute.
        batch_size: images computed together; None is what suits the device.
    """

    protocol: Protocol
    modules: tuple[nn.Module, ...]
    names: tuple[str, ...]
    arrays: Arrays
    device: torch.device
    batch_size: int | None

    def inspect(self) -> list[Inspected]:
        """Put the modules on the device and inspect them.

        Raises:
            UserError: one cannot be evaluated, or the protocol does not work with its classes.
        """
        images = self.arrays.images[:PROBE_IMAGES].to(self.device)
        digest = self.arrays.digest
        found: list[Inspected] = []
        for name, module in zip(self.names, self.modules, strict=True):
            classes = found[0].subject.record.classes if found else None
            model = UserModel(module.to(self.device), name, name)
            # Operations take as many cores as under attack, so that rounding is the same.
            with share_cores(None, self.arrays.size):
                one = inspected(model, Shown(images, classes, "given", digest), self.protocol, is_target=not found)
            found.append(one)
        classes = found[0].subject.record.classes
        largest = int(self.arrays.labels.max())
        if largest >= classes:
            raise UserError(f"labels: expected integers below {classes}, the model's classes, got {largest}")
        evaluation = evaluation_of(self.protocol.settings)
        evaluation.check()
        evaluation.fits(classes)
        return found

    def run(self, subjects: Sequence[Subject], progress: Progress) -> OutcomeFile:
        """Attack the first of ``subjects``, with the others as surrogates."""
        arrays = self.arrays
        with (
            TemporaryDirectory(prefix="robustbench_ens-") as folder,
            share_cores(None, arrays.size) as workers,
        ):
            path = evaluate_images(
                self.protocol,
                subjects[0],
                subjects[1:],
                Store(Path(folder)),
                indices=arrays.indices,
                images=arrays.images,
                labels=arrays.labels,
                data_digest=arrays.digest,
                device=self.device,
                workers=workers,
                batch_size=self.batch_size,
                progress=progress,
            )
            return read_outcomes(path)
