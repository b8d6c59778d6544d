"""How BatchNorm behaves while images are crafted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustbench_ens.config.methods import BatchNormMode

_BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """All BatchNorm layers of ``module``."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]  # type: ignore[misc]


@contextmanager
def batch_norm_mode(module: nn.Module, mode: BatchNormMode) -> Iterator[None]:
    """Run the BatchNorm layers of ``module`` in ``mode``; everything is as before afterwards, but for the statistics.

    - ``batch_and_update``: normalise by batch statistics and move the running ones, as in training.
    - ``batch``: normalise by batch statistics; the running ones stay.
    - ``running``: normalise by the running statistics, as in evaluation.
    """
    layers = batch_norms(module)
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    for layer in layers:
        layer.training = mode != "running"
        layer.track_running_stats = mode != "batch"
    try:
        yield
    finally:
        for layer, (training, tracking) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracking


class RecordedStatistics:
    """Batch statistics of one forward pass, to be applied to the running statistics as often as needed.

    A pass repeated with unchanged parameters moves the running statistics by the same batch statistics each time.
    Recording them once and replaying the update gives the same result without the pass.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = batch_norms(module)
        self._moves: list[tuple[Tensor, Tensor, float]] = []
        self._counts: list[Tensor] = []

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record the forward pass made inside this context; the running statistics stay as they were."""
        before = []
        for layer in self._layers:
            assert layer.running_mean is not None and layer.running_var is not None
            assert layer.num_batches_tracked is not None
            count = layer.num_batches_tracked.clone()
            before.append((layer, layer.momentum, layer.running_mean.clone(), layer.running_var.clone(), count))
            layer.momentum = 1.0
        try:
            yield
        finally:
            for layer, old_momentum, mean, var, count in before:
                assert layer.running_mean is not None and layer.running_var is not None
                assert layer.num_batches_tracked is not None
                if not torch.equal(layer.num_batches_tracked, count):
                    assert old_momentum is not None
                    for running in (layer.running_mean, layer.running_var):
                        self._moves.append((running.data, running.clone(), old_momentum))
                    self._counts.append(layer.num_batches_tracked)
                layer.momentum = old_momentum
                layer.running_mean.copy_(mean)
                layer.running_var.copy_(var)
                layer.num_batches_tracked.copy_(count)

    def replay(self) -> None:
        """Move the running statistics once more, as the recorded pass would have.

        May be called between a forward and its backward pass: in training mode the backward pass does not use the
        running statistics, hence the update behind autograd's back.
        """
        for running, recorded, momentum in self._moves:
            running.lerp_(recorded, momentum)
        for count in self._counts:
            count.add_(1)
