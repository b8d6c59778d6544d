"""Models of one's own as an evaluation uses them: shown copies of the images, in the dtype that they take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustbench_ens.core.fitting import Fitting
from robustbench_ens.core.seeds import GLOBAL_GENERATORS
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.modes import eval_mode


def own_dtype(model: nn.Module) -> torch.dtype | None:
    """Return the dtype of the first floating-point parameter or buffer of ``model``; none if it has none."""
    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)


def takes_own_dtype_alone(model: nn.Module, images: Tensor) -> bool:
    """Return whether ``model`` refuses images in their own dtype and takes them in its own.

    PyTorch's generators are afterwards as before.

    Args:
        model: in eval mode, on the device of ``images``.
        images: ``(B, C, H, W)``; the first one is shown.
    """
    own = own_dtype(model)
    if own is None or own == images.dtype:
        return False

    def works(image: Tensor) -> bool:
        devices = [image.device] if image.device.type == "cuda" else []
        with torch.no_grad(), GLOBAL_GENERATORS, torch.random.fork_rng(devices=devices):
            try:
                model(image)
            except Exception:  # a user's code raises whatever it likes; what it raises last is said elsewhere
                return False
        return True

    image = images[:1]
    return not works(image.clone()) and works(image.to(own))


class Adapted(nn.Module):
    """A model that is shown copies of images, so that it may change them in place.

    Args:
        model: maps images to scores; its ``members``, if it has any, are those of this one, adapted alike.
        converts: whether images are given to it in its own dtype, and scores come back in theirs.
    """

    def __init__(self, model: nn.Module, converts: bool = False) -> None:
        super().__init__()
        self.model, self._converts = model, converts
        members = getattr(model, "members", None)
        if isinstance(members, nn.ModuleList):
            self.members = nn.ModuleList(type(self)(member, converts) for member in members)

    def _shown(self, x: Tensor) -> Tensor:
        return x.to(own_dtype(self.model), copy=True) if self._converts else x.clone()

    def _returned(self, values: Any, x: Tensor) -> Any:
        return values.to(x.dtype) if self._converts and isinstance(values, Tensor) else values

    @property
    def num_layers(self) -> int:
        """Number of addressable layers of the model."""
        return int(self.model.num_layers)  # type: ignore[arg-type]

    def features(self, x: Tensor, layer: int) -> Any:
        """Output of ``layer`` of the model."""
        return self._returned(self.model.features(self._shown(x), layer), x)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Any:
        """What the model returns of images ``(B, C, H, W)``."""
        return self._returned(self.model(self._shown(x)), x)


class Watched(Adapted):
    """An adapted model that notes, in ``changed``, whether it has changed what it was shown."""

    changed = False

    def forward(self, x: Tensor) -> Any:
        """What the model returns of images ``(B, C, H, W)``; of fewer at a time if they do not fit in memory."""
        parts = Fitting().each(slice(0, len(x)), lambda rows: self._watched(x[rows]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _watched(self, x: Tensor) -> Any:
        shown = self._shown(x)
        before = shown.detach().clone()
        returned = self.model(shown)
        self.changed |= not torch.equal(shown.detach(), before)
        return self._returned(returned, x)


def watched(model: nn.Module, converts: bool) -> nn.Module:
    """Return ``model``, or each sub-model of an ``Ensemble``, in eval mode in :class:`Watched`."""
    return _wrapped(model, Watched, converts)


def was_changed(model: nn.Module) -> bool:
    """Return whether anything in a model of :func:`watched` has changed what it was shown."""
    return any(part.changed for part in model.modules() if isinstance(part, Watched))


def _wrapped(model: nn.Module, wrapper: type[Adapted], converts: bool) -> nn.Module:
    if type(model) is Ensemble:  # one sub-model that changes its input would change the input of those after it
        members = [wrapper(member, converts) for member in model.members]
        return eval_mode(Ensemble(members, model.aggregation, model.chances))
    return eval_mode(wrapper(model, converts))


def adapted(model: nn.Module, *, changes_input: bool, converts: bool) -> nn.Module:
    """Return ``model`` itself, or in eval mode in :class:`Adapted` if it needs copies or its own dtype."""
    return _wrapped(model, Adapted, converts) if changes_input or converts else model
