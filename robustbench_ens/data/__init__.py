"""Image datasets as uint8 tensors: built-in ones, folders of images, ``.npz`` files.

``builtin``, ``folder`` and ``npz`` each read one kind of source. ``decoded`` caches the decoded tensors, and ``load``
finds the source of a name. Training and evaluation use only a :class:`Dataset`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_ens.data.augmentation import AUGMENTATIONS, Placement, augment, placement, shrink, small_shape
    from robustbench_ens.data.dataset import Dataset, select_images, to_float
    from robustbench_ens.data.load import default_data_root, load_dataset
    from robustbench_ens.data.names import BUILTIN_NAMES

__all__ = [
    "AUGMENTATIONS",
    "BUILTIN_NAMES",
    "Dataset",
    "Placement",
    "augment",
    "default_data_root",
    "load_dataset",
    "placement",
    "select_images",
    "shrink",
    "small_shape",
    "to_float",
]

_HOMES = {
    "augmentation": ("AUGMENTATIONS", "Placement", "augment", "placement", "shrink", "small_shape"),
    "dataset": ("Dataset", "select_images", "to_float"),
    "load": ("default_data_root", "load_dataset"),
    "names": ("BUILTIN_NAMES",),
}
"""Names by the module that they are imported from at first use, since most of these modules import torch."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
