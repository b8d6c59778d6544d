"""The layer that a method distils at."""

from __future__ import annotations

import torch

from robustbench_ens.config.methods import LayerSettings
from robustbench_ens.core.seeds import generator
from robustbench_ens.training.method import Context


def draw_layer(settings: LayerSettings, num_layers: int, context: Context) -> int:
    """Return the layer to distil at, uniform over 1 to ``num_layers`` unless ``settings`` fix it.

    The draw belongs to the epoch, or to the first of ``layer_steps`` steps.
    """
    if isinstance(settings.layer, int):
        return settings.layer
    if settings.layer == "epoch":
        draw = context.epoch_generator("layer")
    else:
        draw = generator(context.seed, "layer", "step", context.step - context.step % settings.layer_steps)
    return int(torch.randint(1, num_layers + 1, (), generator=draw, device="cpu"))
