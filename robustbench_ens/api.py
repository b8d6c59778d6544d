"""Models of one's own, from the command line and from Python, through the same evaluation as the zoo."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from robustbench_ens.analysis.health import attack_warnings, file_health
from robustbench_ens.analysis.result import attributes
from robustbench_ens.config.identity import Code, code_of
from robustbench_ens.config.protocols import Protocol, load_protocol
from robustbench_ens.core.parallel import share_cores
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data import to_float
from robustbench_ens.data.arguments import checked_images, checked_integers
from robustbench_ens.errors import UnhealthyAttackWarning, UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.job import Subject
from robustbench_ens.evaluation.runner import evaluate_images
from robustbench_ens.models.adapted import adapted
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.external import PROBE_IMAGES, blamed, import_model, look_at, own_record
from robustbench_ens.models.layout import contiguous
from robustbench_ens.models.modes import outside_inference
from robustbench_ens.models.probe import modules_behind, probe
from robustbench_ens.models.restore import as_found, check_filled
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.weights.origin import facts_of
from robustbench_ens.weights.trained import digest_state
from robustbench_ens.workflow.plan import Workplace
from robustbench_ens.workflow.targets import Given


def _subject(
    model: nn.Module,
    name: str,
    where: str,
    images: Tensor,
    classes: int | None,
    protocol: Protocol,
    *,
    target: bool = True,
    code: Code | None = None,
    **data: str,
) -> tuple[Subject, list[str]]:
    """``model`` as what ``protocol`` attacks, or crafts on; and what a person should know of it.

    ``code`` identifies its code where outcomes are kept, so that a later command can tell whether it is still the same.
    """
    facts, transfers = protocol.settings.facts, bool(getattr(protocol.settings, "surrogates", ()))
    members = target and facts.fewest_sub_models > 0
    # Where there are surrogates, the target's own gradient is followed by no kind but those that look at sub-models.
    gradient = facts.crafts and (members or transfers != target)
    look = look_at(model, images, classes, where, members=members, gradient=gradient)
    attacked = adapted(model, changes_input=look.changes_input, converts=look.converts)
    seen = probe(attacked, contiguous(images), look.scores) if code is not None and look.steady else None
    record = own_record(model, name, look, channels=images.shape[1], code=code, seen=seen, **data)
    # A kind that asks for sub-models is refused where there are none; others need no more than a module.
    return Subject(cast(Ensemble, attacked), record), look.remarks


def given(place: Workplace, protocols: Sequence[Protocol], spec: str) -> list[tuple[Protocol, Given]]:
    """The model ``package.module:name`` as a target of each protocol; says once what a person should know of it.

    Raises:
        UserError: there is no such model, or it does not score the images of a protocol's dataset.
    """
    where, said = f"--model {spec}", dict[str, None]()
    model = import_model(spec, "--model")
    check_filled(model, where)
    model = outside_inference(model)
    with blamed(where):
        model.to(place.device)
    code = code_of(spec.partition(":")[0], modules_behind(model))
    pairs = []
    for protocol in protocols:
        dataset = place.dataset(protocol.settings.dataset, protocol.settings.max_pixels)
        images = to_float(dataset.x_test[:PROBE_IMAGES]).to(place.device)
        subject, remarks = _subject(
            model,
            spec,
            where,
            images,
            dataset.num_classes,
            protocol,
            code=code,
            dataset=dataset.name,
            data_digest=dataset.digest,
        )
        said |= dict.fromkeys(remarks)
        pairs.append((protocol, Given(subject)))
    for remark in said:
        place.progress.message(f"warning: {remark}")
    return pairs


def _checked_protocol(protocol: Protocol | str | Path, surrogates: Sequence[nn.Module]) -> Protocol:
    loaded = protocol if isinstance(protocol, Protocol) else load_protocol(str(protocol))
    if loaded.settings.facts.own_images:
        raise UserError(
            f"protocol {loaded.label!r}: expected a kind that attacks the given images, got {loaded.settings.kind!r}, "
            "which brings its own; use `rbe attack`"
        )
    wanted = getattr(loaded.settings, "surrogates", ())
    if len(surrogates) != len(wanted):
        names = ", ".join(f"{surrogate.recipe} with seed {surrogate.seed}" for surrogate in wanted)
        hint = f" in place of {names}; `load_ensemble` gives those that are trained" if names else ""
        raise UserError(
            f"surrogates: expected {len(wanted)} modules, as protocol {loaded.label!r} has surrogates, got "
            f"{len(surrogates)}{hint}"
        )
    return loaded


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
        torch.zeros(1, dtype=torch.float32, device=checked).cpu()
    except (AssertionError, RuntimeError, TypeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"device: expected cpu, cuda or cuda:N that is there, got {device!r}: {why}") from None
    return checked


class _Warning(Silent):
    """Progress that nobody listens to, but for messages."""

    def message(self, text: str) -> None:
        """Warn of what would be printed on the command line."""
        warnings.warn(text, stacklevel=2)


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
    """See :func:`robustbench_ens.evaluate`."""
    if not isinstance(name, str):
        raise UserError(f"name: expected text, got {type(name).__name__}")
    if not isinstance(surrogates, Sequence):
        raise UserError(f"surrogates: expected a list of nn.Modules, got {type(surrogates).__name__}")
    for module, what in ((model, "model"), *((s, f"surrogates[{i}]") for i, s in enumerate(surrogates))):
        if isinstance(module, type) and issubclass(module, nn.Module):
            raise UserError(f"{what}: expected an nn.Module, got the class {module.__name__}; give an instance of it")
        if not isinstance(module, nn.Module):
            hint = "; an nn.Module whose forward calls it will do" if callable(module) else ""
            raise UserError(f"{what}: expected an nn.Module, got {type(module).__name__}{hint}")
        check_filled(module, what)
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if batch_size is not None and not (whole and batch_size >= 1):
        raise UserError(f"batch_size: expected a whole number from 1, or None, got {batch_size!r}")
    loaded, on = _checked_protocol(protocol, surrogates), _checked_device(device)
    with torch.inference_mode(mode=False):  # whose tensors have no gradients
        images = checked_images(images, model)
        model, *others = map(outside_inference, (model, *surrogates))
    labels = checked_integers("labels", labels, len(images))
    indices = (
        torch.arange(len(images), device="cpu")
        if indices is None
        else checked_integers("indices", indices, len(images))
    )
    if len(indices.unique()) < len(indices):
        raise UserError(f"indices: expected {len(indices)} different integers, got some more than once")
    digest = digest_state({"images": images, "labels": labels})
    shown = images[:PROBE_IMAGES].to(on)
    with (
        torch.inference_mode(mode=False),
        as_found(model, *others),
        TemporaryDirectory(prefix="robustbench_ens-") as folder,
        share_cores(None, (images.shape[2], images.shape[3])) as workers,
    ):
        found: list[tuple[Subject, list[str]]] = []
        for index, module in enumerate((model, *others)):
            what = name if index == 0 else f"surrogate {index - 1}"
            classes = found[0][0].record.classes if found else None
            module.to(on)
            found.append(
                _subject(
                    module, what, what, shown, classes, loaded, target=index == 0, dataset="given", data_digest=digest
                )
            )
        target, *sources = (subject for subject, _ in found)
        if int(labels.max()) >= target.record.classes:
            raise UserError(
                f"labels: expected integers below {target.record.classes}, the model's classes, got {int(labels.max())}"
            )
        evaluation = evaluation_of(loaded.settings)
        evaluation.check()
        evaluation.fits(target.record.classes)
        remarks = [remark for _, own_remarks in found for remark in own_remarks]
        for remark in remarks:
            warnings.warn(remark, stacklevel=3)
        path = evaluate_images(
            loaded,
            target,
            sources,
            Store(Path(folder)),
            indices=indices,
            images=images,
            labels=labels,
            data_digest=digest,
            device=on,
            workers=workers,
            batch_size=batch_size,
            progress=_Warning(),
        )
        file = read_outcomes(path)
    for warning in attack_warnings(file_health(file)):
        warnings.warn(warning, UnhealthyAttackWarning, stacklevel=3)
    names = (name, *(f"surrogate {index}" for index in range(len(surrogates))))
    weights = {what: facts_of(module) for what, module in zip(names, (model, *surrogates), strict=True)}
    frame = file.outcomes
    frame.attrs.update(attributes(file, remarks), weights=weights)
    return frame
