"""The Python API: load a trained ensemble, and evaluate any model on any images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from robustbench_ens.analysis.health import attack_warnings, file_health
from robustbench_ens.analysis.result import attributes
from robustbench_ens.config.protocols import Protocol, load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.process import full_precision, usual_defaults
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store, runs_folder
from robustbench_ens.errors import UnhealthyAttackWarning, UserError
from robustbench_ens.evaluation.arrays import (
    ArraysEvaluation,
    check_takes,
    checked_arrays,
    checked_device,
    checked_modules,
)
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.modes import outside_inference
from robustbench_ens.models.restore import as_found
from robustbench_ens.weights.origin import facts_of


def load_ensemble(
    reference: str | Path,
    seed: int = 0,
    runs: Path | str | None = None,
    data_root: Path | str | None = None,
) -> Ensemble:
    """Load a trained ensemble, or else a published one, as an ``nn.Module`` in eval mode, on the CPU.

    It maps images ``(B, C, H, W)`` in [0, 1] to log-probabilities ``(B, classes)``: normalisation is inside, and the
    sub-models are its ``members``. Its ``origin`` is where the weights come from, as ``kind`` (``published``, ``trained
    here`` or ``imported``) and ``folder``; its ``record`` is what is known of them.

    The weights are those that `rbe attack` would take. It warns if published ones serve although a training was begun
    in the run directory, or one there does not match its images or what it starts from any more.

    Args:
        reference: a recipe by name or path, with overrides in brackets: ``digits/dverge-3[epochs=5]``.
        seed: of the training.
        runs: the run directory; ``RBE_RUNS`` or else ``runs`` if None.
        data_root: where datasets lie; ``RBE_DATA`` or else ``~/.cache/robustbench_ens`` if None.

    Raises:
        robustbench_ens.errors.UserError: unknown recipe; not trained with this seed; damaged or foreign weights.
    """
    from robustbench_ens.weights.run import TrainingRun
    from robustbench_ens.workflow.place import Workplace

    place = Workplace(
        Store(runs_folder(runs)), None if data_root is None else Path(data_root), "cpu", Silent(), published=True
    )
    ensemble = TrainingRun(load_recipe(str(reference)), seed)
    with usual_defaults():
        return place.library.load(ensemble)


def evaluate(
    model: nn.Module,
    images: Any,
    labels: Any,
    protocol: Protocol | str | Path,
    *,
    device: torch.device | str = "cpu",
    surrogates: Sequence[nn.Module] = (),
    indices: Any = None,
    name: str = "model",
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Run a protocol against any model, on any images. Nothing is written.

    The model is attacked and scored in eval mode; parameters, buffers, gradients, modes and device are afterwards what
    they were. It warns of a model in train mode, of one that changes its input, takes another dtype or does not work in
    channels-last memory, and of what makes attacks fail or numbers mean less than they seem to: probabilities,
    saturated scores, a gradient that is zero or not that of the scores, scores that differ from pass to pass or depend
    on the other images of a batch. An attack that turned out unhealthy, as one on masked gradients does, raises an
    :class:`UnhealthyAttackWarning`: accuracy under it may be too high.

    Args:
        model: maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities ``(B, classes)``, differentiably
            where the protocol follows its gradient. Sub-models, where the protocol asks for them, are its ``members``,
            an ``nn.ModuleList``.
        images: ``(N, C, H, W)``, float in [0, 1] or uint8, as a tensor, an array or a list of these. They are copied;
            pixels outside [0, 1] by at most 1e-6, as rounding leaves them, are clipped. They are attacked in float32,
            or in float64 if they and the model's parameters are. All of them are attacked: the protocol's ``images``
            and ``dataset`` decide nothing here.
        labels: ``(N,)`` integers of any width, as a tensor, an array, a list or a pandas Series in its order.
        protocol: by name or path, with changes in brackets (``digits/whitebox[eps=[0.1]]``), or loaded.
        device: where to compute.
        surrogates: black-box only: hold-out models to craft on, one in place of each surrogate of the protocol.
        indices: ``(N,)`` integers like ``labels``, the images' places in their dataset; random starts belong to them,
            and so do the halves that a protocol with ``test_half`` is held to. The order in ``images`` unless given.
        name: what the result calls the model.
        batch_size: images computed together, by default what suits the device; it is halved, with a warning, while they
            do not fit in memory. Starts and draws belong to the image. Rounding may still differ between batch sizes,
            and so may an outcome that depends on it.

    Returns:
        one row per image and attempt, clean images too: table *outcomes* of :mod:`robustbench_ens.outcomes`. An image
        counts as robust only if all of its rows that are not null are correct, the clean one too. If one sub-model
        answers at random, there is a row of each with its ``probability``, and an image counts by the least expected
        correctness. ``attrs`` holds plain values: ``protocol`` and ``protocol_hash``; ``warnings``, every warning that
        was raised; ``health``, one entry for each attack, loss and sign, with its worst ``value``, the protocol's
        ``limit`` and whether it is ``healthy`` (empty under kinds that craft nothing, and AutoAttack, which has no
        signs); and ``weights``, which says of the model and each surrogate whether it is a published ensemble, one
        trained here, or ``given``; see :func:`robustbench_ens.weights.origin.facts_of`.

    Raises:
        robustbench_ens.errors.UserError: the model does not score the images, or a value is not what is expected.
    """
    if not isinstance(name, str):
        raise UserError(f"name: expected text, got {type(name).__name__}")
    modules = checked_modules(model, surrogates)
    _check_batch_size(batch_size)
    loaded = protocol if isinstance(protocol, Protocol) else load_protocol(str(protocol))
    check_takes(loaded, len(surrogates))
    names = (name, *(f"surrogate {index}" for index in range(len(surrogates))))
    with full_precision():
        on = checked_device(device)
        arrays = checked_arrays(images, labels, indices, model)
        with torch.inference_mode(mode=False):  # whose tensors have no gradients
            attacked = tuple(map(outside_inference, modules))
        evaluation = ArraysEvaluation(loaded, attacked, names, arrays, on, batch_size)
        with as_found(*attacked):
            found = evaluation.inspect()
            remarks = [remark for one in found for remark in one.remarks]
            for remark in remarks:
                warnings.warn(remark, stacklevel=2)
            file = evaluation.run([one.model for one in found], _Warning())
    for warning in attack_warnings(file_health(file)):
        warnings.warn(warning, UnhealthyAttackWarning, stacklevel=2)
    frame = file.outcomes
    weights = {what: facts_of(module) for what, module in zip(names, modules, strict=True)}
    frame.attrs.update(attributes(file, remarks), weights=weights)
    return frame


def _check_batch_size(batch_size: Any) -> None:
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if batch_size is not None and not (whole and batch_size >= 1):
        raise UserError(f"batch_size: expected a whole number from 1, or None, got {batch_size!r}")


class _Warning(Silent):
    """Progress of which only messages are passed on, as warnings."""

    def message(self, text: str) -> None:
        """Warn of what would be printed on the command line."""
        warnings.warn(text, stacklevel=2)
