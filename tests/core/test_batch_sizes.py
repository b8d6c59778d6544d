"""Batch sizes that outlive a process."""

from __future__ import annotations

import errno
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from robustbench_ens.core import batch_sizes as module
from robustbench_ens.core.batch_sizes import FOLDER, BatchSizes, KeptSizes
from robustbench_ens.core.notices import notices_to


@pytest.fixture
def sizes(tmp_path: Path) -> BatchSizes:
    return BatchSizes(tmp_path, "3 x 32 x 32 torch.float32", "a GPU, 79.0 GiB")


@pytest.fixture
def kept(sizes: BatchSizes) -> KeptSizes:
    return sizes.of("a network", "pgd")


@pytest.fixture
def noticed() -> Iterator[list[str]]:
    lines: list[str] = []
    with notices_to(lines.append):
        yield lines


def test_nothing_is_kept_at_first(kept: KeptSizes) -> None:
    assert kept.smallest("fitted") is None
    assert not kept.folder.exists()


@pytest.mark.parametrize("order", [(32, 8, 16), (8, 32), (16, 8)])
def test_the_smallest_counts_whoever_writes_last(sizes: BatchSizes, order: tuple[int, ...]) -> None:
    for size in order:
        sizes.of("a network", "pgd").keep("fitted", size)  # as by another process
    assert sizes.of("a network", "pgd").smallest("fitted") == 8


def test_what_was_measured_limits_nothing(kept: KeptSizes) -> None:
    kept.keep("measured", 64)
    assert (kept.smallest("measured"), kept.smallest("fitted")) == (64, None)


@pytest.mark.parametrize("other", ["network", "images", "device", "work"])
def test_a_size_belongs_to_network_images_device_and_work(tmp_path: Path, other: str) -> None:
    def kept(**changed: str) -> KeptSizes:
        given = dict.fromkeys(("network", "images", "device", "work"), "this") | changed
        return BatchSizes(tmp_path, given["images"], given["device"]).of(given["network"], given["work"])

    kept().keep("fitted", 4)
    assert kept(**{other: "another"}).smallest("fitted") is None
    assert kept().smallest("fitted") == 4


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[:-9],
    "no object": lambda text: "[4]",
    "a changed size": lambda text: text.replace('"size": 4', '"size": 5'),
    "of something else": lambda text: json.dumps({**_unsealed(text), "work": "other"}),
    "a format to come": lambda text: json.dumps({**_unsealed(text), "format": 2}),
    "true": lambda text: json.dumps({**_unsealed(text), "size": True}),
    "zero": lambda text: json.dumps({**_unsealed(text), "size": 0}),
    "text": lambda text: json.dumps({**_unsealed(text), "size": "4"}),
    "deep": lambda text: "[" * 100_000,
}


def _unsealed(text: str) -> dict[str, object]:
    return {key: value for key, value in json.loads(text).items() if key in {"format", "how", "size"}}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_foreign_is_ignored_with_a_notice(kept: KeptSizes, noticed: list[str], damage: str) -> None:
    kept.keep("fitted", 4)
    kept.keep("fitted", 16)
    path = kept.folder / "fitted-4.json"
    path.write_text(DAMAGES[damage](path.read_text()))
    assert kept.smallest("fitted") == 16
    (line,) = noticed
    assert str(path) in line
    assert "ignored" in line
    assert "\n" not in line


def test_special_files_and_other_names_are_ignored(kept: KeptSizes, noticed: list[str]) -> None:
    kept.keep("fitted", 16)
    (kept.folder / "fitted-2.json").mkdir()
    (kept.folder / "notes.txt").write_text("mine")
    (kept.folder / ".rbe-x.part").write_text("half")
    assert kept.smallest("fitted") == 16
    assert len(noticed) == 1


def test_a_file_in_place_of_the_folder_is_no_size(tmp_path: Path, kept: KeptSizes, noticed: list[str]) -> None:
    (tmp_path / FOLDER).write_text("mine")
    assert kept.smallest("fitted") is None
    kept.keep("fitted", 4)
    assert len(noticed) == 1
    assert "could not keep the batch size 4" in noticed[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_size_that_cannot_be_kept_stops_nobody(
    kept: KeptSizes, noticed: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, "no")

    monkeypatch.setattr(module, "write_json", fail)
    kept.keep("fitted", 4)
    assert noticed == [
        f"{kept.folder / 'fitted-4.json'}: could not keep the batch size 4; later commands find it again (no)"
    ]


def test_keeping_a_size_again_is_silent(kept: KeptSizes, noticed: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.keep("fitted", 4)
        kept.keep("fitted", 4)
    assert kept.smallest("fitted") == 4
    assert not noticed
