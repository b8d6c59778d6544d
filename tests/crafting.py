"""Crafting by plain keywords, as tests state it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_ens.perturb.craft import craft
from robustbench_ens.perturb.inputs import AttackSettings, Budget, CleanImages, Compute, Observers

CPU = torch.device("cpu")


def _given(group: type, keywords: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(group)}
    return {name: keywords.pop(name) for name in names & keywords.keys()}


def craft_by(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    indices: Sequence[int],
    *,
    start_key: Sequence[object] = (0, 0),
    **keywords: Any,
) -> Tensor:
    """Craft on the CPU; keywords are those of the groups of settings and of crafting itself."""
    budget = Budget(**_given(Budget, keywords))
    compute = Compute(**{"device": CPU, **_given(Compute, keywords)})
    observers = Observers(**_given(Observers, keywords))
    more = {name: keywords.pop(name) for name in ("resume", "pool", "begin") if name in keywords}
    settings = AttackSettings(**keywords, budget=budget, key=start_key)
    clean = CleanImages(images, labels, indices)
    return craft(model, clean, settings, compute, observers=observers, **more)
