"""The DVERGE authors' checkpoint format: a dict ``model_0 .. model_{M-1}`` of sub-models' state dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.recipes import Recipe
from robustbench_ens.store import atomic_path


def to_released(ensemble: Ensemble) -> dict[str, dict[str, Tensor]]:
    """The ensemble's weights as the released code stores them: keys ``model.*`` and ``normalizer.mean|std``."""
    return {
        f"model_{index}": {key: value.detach().cpu().contiguous() for key, value in member.state_dict().items()}
        for index, member in enumerate(ensemble.members)
    }


def export_released(path: Path, ensemble: Ensemble) -> None:
    """Write a checkpoint in the released format; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(to_released(ensemble), temporary)


def read_released(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read a checkpoint in the released format, loading nothing but tensors.

    Raises:
        UserError: the file is missing, truncated or not such a checkpoint.
    """
    expected = "a checkpoint in the released format: a dict model_0, model_1, ... of state dicts"
    try:
        content: Any = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; expected {expected}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: expected {expected}, got a folder") from None
    except Exception as error:  # torch.load raises a dozen kinds on bytes it does not know
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path}: expected {expected}, got a truncated or foreign file ({reason})") from None
    keys = [f"model_{index}" for index in range(len(content))] if isinstance(content, dict) else []
    if not keys or set(content) != set(keys) or not all(_is_state(content[key]) for key in keys):
        got = f"a dict with the keys {sorted(map(str, content))[:4]}" if isinstance(content, dict) else _kind(content)
        raise UserError(f"{path}: expected {expected}, got {got}")
    return {key: content[key] for key in keys}


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def from_released(path: Path, recipe: Recipe) -> Ensemble:
    """An ensemble of ``recipe``'s shape with the weights in ``path``, in eval mode.

    Raises:
        UserError: the file is damaged, or its sub-models are of another number or shape.
    """
    states = read_released(path)
    if len(states) != recipe.settings.sub_models:
        raise UserError(
            f"{path}: expected {recipe.settings.sub_models} sub-models as in recipe {recipe.label!r}, got {len(states)}"
        )
    first = states["model_0"]
    mean, std = first.get("normalizer.mean"), first.get("normalizer.std")
    head = [value for key, value in first.items() if key.endswith("weight") and value.dim() == 2]
    if mean is None or std is None or mean.dim() != 1 or mean.shape != std.shape or not head:
        raise UserError(
            f"{path}: model_0: expected keys model.*, with a last layer, and normalizer.mean|std of shape (channels,), "
            f"got {sorted(first)[:3]}"
        )
    channels, classes = len(mean), head[-1].shape[0]
    ensemble = build_ensemble(recipe, 0, channels=channels, classes=classes, mean=mean, std=std)
    for member, (key, state) in zip(ensemble.members, states.items(), strict=True):
        mine = member.state_dict()
        wrong = sorted(set(mine) ^ set(state)) or [k for k in mine if mine[k].shape != state[k].shape]
        if wrong:
            shape = tuple(state[wrong[0]].shape) if wrong[0] in state else "nothing"
            wanted = tuple(mine[wrong[0]].shape) if wrong[0] in mine else "nothing"
            raise UserError(
                f"{path}: {key}.{wrong[0]}: expected {wanted} as in network {recipe.settings.network!r}, got {shape}"
            )
        member.load_state_dict(state)
    return ensemble.eval()
