"""Run as a child process: every convolution of every shipped network, and last a deliberate write past a buffer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from robustbench_ens.config.lookup import names
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.data import small_shape
from robustbench_ens.models.build import network_builder, seeded

CLEAN, UNNOTICED = "every convolution kept inside its buffers", "a deliberate overrun went unnoticed"
SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "cifar10-jpeg": (3, 32, 32)}
NARROW = range(1, 9)
BATCHES = (1, 8)

Convolution = tuple[nn.Conv2d, torch.Size]


def convolutions() -> dict[str, Convolution]:
    """Each convolution of the shipped networks, as wide as the recipes say and narrow, with the shape of its input."""
    found: dict[str, Convolution] = {}

    def keep(module: nn.Conv2d, inputs: tuple[Tensor], _: Tensor) -> None:
        found.setdefault(f"{module} on {tuple(inputs[0].shape)}", (module, inputs[0].shape))

    for network, shape in networks():
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        hooks = [module.register_forward_hook(keep) for module in layers]
        network.eval()(torch.rand(1, *shape))
        for hook in hooks:
            hook.remove()
    return found


def networks() -> Iterator[tuple[nn.Module, tuple[int, ...]]]:
    """The shipped networks that differ in arguments or in the images they take, and those images' shape."""
    seen = set()
    for name in names("zoo"):
        recipe = load_recipe(name)
        settings = recipe.settings
        shapes = {SHAPES[settings.dataset]}
        if settings.progressive_resizing:
            shapes.add(small_shape(SHAPES[settings.dataset], settings.progressive_resizing.size, name))
        for shape in shapes:
            for arguments in (settings.network_args, *({"width": width} for width in NARROW)):
                key = (settings.network, shape, repr(arguments))
                if key not in seen:
                    seen.add(key)
                    build = network_builder(recipe)
                    yield seeded(0, lambda b=build, a=arguments, c=shape[0]: b(channels=c, classes=10, **a)), shape


def run(module: nn.Conv2d, shape: torch.Size, batch: int) -> None:
    """Compute outputs and both gradients in the layout of training."""
    module = module.to(memory_format=torch.channels_last)
    images = torch.rand(batch, *shape[1:]).contiguous(memory_format=torch.channels_last).requires_grad_()
    module(images).square().sum().backward()


def main() -> None:
    """Name each convolution before it runs, so that the last line before an abort is the culprit's."""
    torch.set_num_threads(1)
    for name, (module, shape) in convolutions().items():
        print(name, flush=True)
        for batch in BATCHES:
            run(module, shape, batch)
    print(CLEAN, flush=True)
    buffer = torch.empty(25)
    ctypes.memset(buffer.data_ptr(), 0, buffer.nbytes + 1)
    del buffer
    print(UNNOTICED, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
