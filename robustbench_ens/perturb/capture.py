"""Capture the state in which the gradient loop ends, so that another crafting can go on from there."""

from __future__ import annotations

import torch

from robustbench_ens.perturb.gradient import LoopState


class StateCapture:
    """The state in which crafting ended, of the first so many images: an ``on_end`` of crafting."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._batches: dict[int, LoopState] = {}

    def __call__(self, rows: slice, state: LoopState) -> None:
        """Record the state of the images at ``rows``."""
        some = max(self._images - rows.start, 0)
        if some:
            self._batches[rows.start] = state[:some]

    def state(self) -> LoopState | None:
        """Return the state of the images, in their order; none if no gradient loop ran."""
        batches = [self._batches[row] for row in sorted(self._batches)]
        if not batches:
            return None
        images = torch.cat([batch.images for batch in batches])
        state = {name: torch.cat([batch.state[name] for batch in batches]) for name in batches[0].state}
        return LoopState(images, state, batches[0].steps)
