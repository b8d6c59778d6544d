"""The dataset that the other packages use: two splits of uint8 images, their labels, their class names, one digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_ens.config.protocols.keys import TestHalf
from robustbench_ens.data.halves import images_in_half
from robustbench_ens.errors import UserError


# A generated __eq__ would raise, because tensors have no truth value. Datasets are the same if their digests are.
@dataclass(frozen=True, eq=False)
class Dataset:
    """The decoded images and labels of one dataset.

    Attributes:
        name: label in recipes, hashes and reports, which is not part of the digest.
        x_train: uint8 (N, C, H, W), 0 to 255, where C is 1 (grey) or 3 (RGB). N is 0 if there are only test images.
        y_train: int64 (N,), from 0 to ``num_classes - 1``.
        x_test: like ``x_train``.
        y_test: like ``y_train``.
        classes: class names, where ``classes[k]`` belongs to label ``k``.
        digest: SHA-256 over pixels, labels, shapes and class names, as 64 hexadecimal digits. It does not depend on the
            format of the files. Every record and outcome contains it.
        source: SHA-256 of the ``.npz`` file that the tensors were read from, or none for other sources.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    digest: str
    source: str | None = None

    @classmethod
    def build(
        cls,
        name: str,
        classes: tuple[str, ...],
        x_train: Tensor,
        y_train: Tensor,
        x_test: Tensor,
        y_test: Tensor,
        *,
        source: str | None = None,
    ) -> Dataset:
        """Return a dataset with its digest. The readers have already checked the input of users."""
        for x, y in ((x_train, y_train), (x_test, y_test)):
            assert x.dtype == torch.uint8
            assert x.ndim == 4
            assert x.is_contiguous()
            assert y.dtype == torch.int64
            assert y.shape == x.shape[:1]
            assert y.is_contiguous()
        assert x_train.shape[1:] == x_test.shape[1:]
        digest = _digest(x_train, y_train, x_test, y_test, classes)
        return cls(name, x_train, y_train, x_test, y_test, classes, digest, source)

    @property
    def channels(self) -> int:
        """The number of channels, 1 (grey) or 3 (RGB)."""
        return int(self.x_train.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width in pixels."""
        return int(self.x_train.shape[2]), int(self.x_train.shape[3])

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def check_trainable(self, where: str = "", hint: str = "add a train split, or attack with --model") -> None:
        """Check that there are training images. ``where`` and ``hint`` are the beginning and the end of the error.

        Raises:
            UserError: there are no training images.
        """
        if not len(self.y_train):
            raise UserError(f"{where}dataset {self.name!r}: expected training images, got test images alone; {hint}")

    def mean(self) -> Tensor:
        """Return the mean of each channel over the train split on the [0, 1] scale, float32 (C,).

        Raises:
            UserError: there are no training images.
        """
        return self._moments()[0].float()

    def std(self) -> Tensor:
        """Return the standard deviation of each channel over the train split on the [0, 1] scale, float32 (C,).

        It is the population formula (divided by the number of pixels). A constant channel has 1, because images are
        divided by it.

        Raises:
            UserError: there are no training images.
        """
        variance = self._moments()[1]
        return torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance)).float()

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and population variance per channel on the [0, 1] scale, float64 (C,)."""
        self.check_trainable()
        # From histograms, which are exact and need no float copy of the images.
        counts = torch.stack(
            [torch.bincount(self.x_train[:, c].flatten(), minlength=256) for c in range(self.channels)]
        ).double()
        shares = counts / counts.sum(dim=1, keepdim=True)
        levels = torch.arange(256, dtype=torch.float64, device="cpu") / 255
        mean = shares @ levels
        return mean, (shares * (levels - mean[:, None]) ** 2).sum(dim=1) * (counts.count_nonzero(dim=1) > 1)


def _digest(x_train: Tensor, y_train: Tensor, x_test: Tensor, y_test: Tensor, classes: tuple[str, ...]) -> str:
    tensors = (x_train, y_train, x_test, y_test)
    header = {"classes": list(classes), "shapes": [list(tensor.shape) for tensor in tensors]}
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for tensor in tensors:
        sha.update(tensor.numpy().data)
    return sha.hexdigest()


def to_float(images_uint8: Tensor) -> Tensor:
    """Return ``x / 255``: uint8 images of any shape, 0 to 255, as float32 in [0, 1] on the same device."""
    return images_uint8.float() / 255


def select_images(n_available: int, count: int, seed: int, half: TestHalf = "all") -> Tensor:
    """Return the indices of the test images that an evaluation uses, int64 (count,), ascending, without repetition.

    They are a random subset drawn from ``seed`` of all test images or of one half. With one seed, a smaller subset is
    part of every larger one of the same half.

    Raises:
        UserError: ``count`` is not between 1 and the number of images in the half.
    """
    there = images_in_half(n_available, half)
    if not 1 <= count <= len(there):
        whole = "all there are" if half == "all" else f"all of the {half} half"
        raise UserError(f"number of test images: expected 1 to {len(there)} ({whole}), got {count}")
    generator = torch.Generator().manual_seed(seed)
    return there[torch.randperm(len(there), generator=generator, device="cpu")[:count]].sort().values
