"""What is known of built-in datasets before they are loaded."""

from __future__ import annotations

from robustbench_ens.data import load_dataset
from robustbench_ens.data.names import BUILTIN_IMAGES, BUILTIN_NAMES, Images


def test_digits_are_as_they_are_said_to_be() -> None:
    digits = load_dataset("digits")
    assert BUILTIN_IMAGES["digits"] == Images(len(digits.y_train), len(digits.y_test), digits.image_size[0])
    assert digits.image_size[0] == digits.image_size[1]


def test_every_built_in_dataset_is_described() -> None:
    assert tuple(BUILTIN_IMAGES) == BUILTIN_NAMES
