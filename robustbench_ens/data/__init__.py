"""Image datasets as uint8 tensors: built-in ones, folders of images, ``.npz`` files.

``builtin``, ``folder`` and ``npz`` read one kind of source each; ``decoded`` keeps what they decoded; ``load`` finds
the source that a name means. Training and evaluation see a :class:`Dataset` alone.
"""

from robustbench_ens.data.augmentation import AUGMENTATIONS, augment, shrink, small_shape
from robustbench_ens.data.dataset import Dataset, select_images, to_float
from robustbench_ens.data.load import BUILTIN_NAMES, default_data_root, load_dataset

__all__ = [
    "AUGMENTATIONS",
    "BUILTIN_NAMES",
    "Dataset",
    "augment",
    "default_data_root",
    "load_dataset",
    "select_images",
    "shrink",
    "small_shape",
    "to_float",
]
