"""Evaluation of external models on arrays, for the Python API. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.parallel import share_cores
from robustbench_ens.core.progress import Progress
from robustbench_ens.core.store import Store
from robustbench_ens.data.arguments import checked_images, checked_integers
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.external import Inspected, Shown, UserModel, inspected
from robustbench_ens.evaluation.images import EvaluationImages, check_half
from robustbench_ens.evaluation.inspection import PROBE_IMAGES
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.evaluation.runner import Resources, evaluate_images
from robustbench_ens.models.restore import check_filled
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.weights.trained import digest_state


@dataclass(frozen=True)
class Arrays:
    """Images ``(N, C, H, W)``, labels ``(N,)`` and indices in the dataset ``(N,)``, on the CPU."""

    images: Tensor
    labels: Tensor
    indices: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of the images."""
        return self.images.shape[2], self.images.shape[3]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of images and labels."""
        return digest_state({"images": self.images, "labels": self.labels})


def checked_arrays(images: Any, labels: Any, indices: Any, model: nn.Module) -> Arrays:
    """Check and copy the arrays that a caller passes for ``model``. ``indices`` may be None.

    Raises:
        UserError: they are not such arrays, or an index is repeated.
    """
    with torch.inference_mode(mode=False):  # tensors made in inference mode have no gradients
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
    """Check the model and its surrogates, and return them in one tuple.

    Raises:
        UserError: one of them is not a module, or has uninitialised weights.
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
    """Check that ``protocol`` attacks given images, and has this number of surrogates.

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
    """Return the device after a check that it is available.

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
    """An evaluation of modules on arrays that writes nothing.

    Attributes:
        protocol: the protocol.
        modules: the target, then the surrogates.
        names: their names in outcomes.
        arrays: the images to attack.
        device: where to compute.
        batch_size: images computed together; None is what fits the device.
    """

    protocol: Protocol
    modules: tuple[nn.Module, ...]
    names: tuple[str, ...]
    arrays: Arrays
    device: torch.device
    batch_size: int | None

    def inspect(self) -> list[Inspected]:
        """Put the modules on the device, and inspect them.

        Raises:
            UserError: one cannot be evaluated, or the protocol is incompatible with its classes or these images.
        """
        images = self.arrays.images[:PROBE_IMAGES].to(self.device)
        digest = self.arrays.digest
        found: list[Inspected] = []
        for name, module in zip(self.names, self.modules, strict=True):
            classes = found[0].model.record.classes if found else None
            model = UserModel(module.to(self.device), name, name)
            # With as many cores as under attack, so that rounding is the same.
            with share_cores(None, self.arrays.size):
                one = inspected(model, Shown(images, classes, "given", digest), self.protocol, is_target=not found)
            found.append(one)
        classes = found[0].model.record.classes
        largest = int(self.arrays.labels.max())
        if largest >= classes:
            raise UserError(f"labels: expected integers below {classes}, the model's classes, got {largest}")
        check_half(self.protocol, self.arrays.indices, "indices")
        evaluation = evaluation_of(self.protocol.settings)
        evaluation.check()
        evaluation.fits(classes)
        return found

    def run(self, models: Sequence[LoadedModel], progress: Progress) -> OutcomeFile:
        """Attack the first of ``models``, with the others as surrogates."""
        arrays = self.arrays
        with (
            TemporaryDirectory(prefix="robustbench_ens-") as folder,
            share_cores(None, arrays.size) as workers,
        ):
            path = evaluate_images(
                self.protocol,
                models[0],
                models[1:],
                Store(Path(folder)),
                EvaluationImages(arrays.indices, arrays.images, arrays.labels, arrays.digest),
                Resources(self.device, workers, self.batch_size, progress),
            )
            return read_outcomes(path)
