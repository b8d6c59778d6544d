"""The DVERGE authors' checkpoint format: a dict ``model_0 .. model_{M-1}`` of sub-models' state dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.foreign import check_tensor, load_foreign, names_shown
from robustbench_ens.core.store import atomic_path
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import Ensemble


def to_released(ensemble: Ensemble) -> dict[str, dict[str, Tensor]]:
    """Return the ensemble's weights in the released format, with keys ``model.*`` and ``normalizer.mean|std``."""
    return {
        f"model_{index}": {key: value.detach().cpu().contiguous() for key, value in member.state_dict().items()}
        for index, member in enumerate(ensemble.members)
    }


def export_released(path: Path, ensemble: Ensemble) -> None:
    """Write a checkpoint in the released format, atomically."""
    with atomic_path(path) as temporary:
        torch.save(to_released(ensemble), temporary)


def read_released(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read a checkpoint in the released format, loading nothing but tensors.

    Raises:
        UserError: the file is missing, damaged or not such a checkpoint, or a weight is not a finite number.
    """
    expected = "a checkpoint in the released format: a dict model_0, model_1, ... of state dicts"
    try:
        content: Any = load_foreign(path, expected)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; expected {expected}") from None
    keys = [f"model_{index}" for index in range(len(content))] if isinstance(content, dict) else []
    if not keys or set(content) != set(keys) or not all(_is_state(content[key]) for key in keys):
        got = f"a dict with the keys {names_shown(content)}" if isinstance(content, dict) else _kind(content)
        raise UserError(f"{path}: expected {expected}, got {got}")
    states = {key: content[key] for key in keys}
    for key, state in states.items():
        for name, tensor in state.items():
            check_tensor(tensor, f"{path}: {key}.{name}")
    return states


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def from_released(path: Path, recipe: Recipe) -> Ensemble:
    """Return an ensemble of ``recipe``'s networks with the weights in ``path``, in eval mode.

    Weights are converted to the precision of the network.

    Raises:
        UserError: the file is damaged, or its sub-models differ in number, shape or type of numbers.
    """
    states = read_released(path)
    if len(states) != recipe.settings.sub_models:
        raise UserError(
            f"{path}: expected {recipe.settings.sub_models} sub-models as in recipe {recipe.label!r}, got {len(states)}"
        )
    first = states["model_0"]
    mean = first.get("normalizer.mean")
    std = first.get("normalizer.std")
    head = [value for key, value in first.items() if key.endswith("weight") and value.dim() == 2]
    if mean is None or std is None or mean.dim() != 1 or mean.shape != std.shape or not head:
        raise UserError(
            f"{path}: model_0: expected keys model.*, with a last layer, and normalizer.mean|std of shape (channels,), "
            f"got {names_shown(first)}"
        )
    # The file itself states neither number, so they are read from the shapes of the normaliser and the last layer.
    channels = len(mean)
    classes = head[-1].shape[0]
    zeros = torch.zeros(channels, dtype=torch.float32, device="cpu")
    ensemble = build_ensemble(recipe, 0, channels=channels, classes=classes, mean=zeros, std=zeros + 1)
    for member, (key, state) in zip(ensemble.members, states.items(), strict=True):
        mine = member.state_dict()
        wrong = sorted(set(mine) ^ set(state)) or [k for k in mine if mine[k].shape != state[k].shape]
        if wrong:
            shape = tuple(state[wrong[0]].shape) if wrong[0] in state else "nothing"
            wanted = tuple(mine[wrong[0]].shape) if wrong[0] in mine else "nothing"
            raise UserError(
                f"{path}: {key}.{wrong[0]}: expected {wanted} as in network {recipe.settings.network!r}, got {shape}"
            )
        member.load_state_dict({k: _converted(state[k], mine[k].dtype, f"{path}: {key}.{k}") for k in mine})
    return ensemble.eval()


def _converted(tensor: Tensor, dtype: torch.dtype, where: str) -> Tensor:
    """Return ``tensor`` in the network's precision.

    Raises:
        UserError: it has integers although the network has floating-point numbers, is too large for the precision, or
            is an impossible variance or standard deviation.
    """
    if dtype.is_floating_point and not tensor.is_floating_point():
        raise UserError(f"{where}: expected {dtype} or another precision, as in the network, got {tensor.dtype}")
    converted = tensor.to(dtype)
    check_tensor(converted, f"{where} as {dtype}")
    # The released code stores counters of batches as floating-point numbers.
    if not dtype.is_floating_point and not torch.equal(converted.to(tensor.dtype), tensor):
        raise UserError(f"{where}: expected whole numbers, as in the network, got {tensor.dtype} of another kind")
    if where.endswith("running_var") and bool((converted < 0).any()):
        raise UserError(f"{where}: expected variances of at least 0, got {float(converted.min()):g}")
    if where.endswith("normalizer.std") and bool((converted <= 0).any()):
        raise UserError(f"{where}: expected deviations above 0, got {float(converted.min()):g}")
    return converted
