"""Image files whose channels hold more than 8 bits, written by hand: Pillow writes none of colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError

SIDE = 4
Write = Callable[[], bytes]


def png(colour: int, channels: int, bits: int = 16) -> Write:
    """``colour`` is PNG's: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def content() -> bytes:
        row = b"\0" + bytes([1, 44]) * (SIDE * channels * bits // 16)
        head = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * SIDE)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + body

    return content


def tiff(channels: int, photometric: int, bits: int = 16, sample_format: int = 1, order: str = "<") -> Write:
    """``photometric`` is TIFF's: 1 grey, 2 RGB, 5 CMYK; ``sample_format`` 1 unsigned, 2 signed."""

    def content() -> bytes:
        data = struct.pack(order + "H", 300) * (SIDE * SIDE * channels * bits // 16)
        counts = {258: bits, 339: sample_format}
        values = {
            256: SIDE,
            257: SIDE,
            258: None,
            259: 1,
            262: photometric,
            273: None,
            277: channels,
            278: SIDE,
            279: len(data),
            339: None,
        }
        if photometric == 2 and channels == 4:
            values |= {338: 2}
        start = 8 + 2 + 12 * len(values) + 4
        lists = {tag: struct.pack(order + f"{channels}H", *[count] * channels) for tag, count in counts.items()}
        values[258], values[339] = start, start + len(lists[258])
        values[273] = start + 2 * len(lists[258])
        entries = b""
        for tag, value in sorted(values.items()):
            if tag in lists and channels <= 2:
                entries += struct.pack(order + "HHI", tag, 3, channels) + lists[tag].ljust(4, b"\0")
            elif tag in lists:
                entries += struct.pack(order + "HHII", tag, 3, channels, value)
            else:
                entries += struct.pack(order + "HHII", tag, 4, 1, value)
        head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(values))
        return head + entries + bytes(4) + lists[258] + lists[339] + data

    return content


def pnm(kind: str, largest: int) -> Write:
    channels = 3 if kind in ("P3", "P6") else 1
    plain = b" 200" * (SIDE * SIDE * channels)
    raw = bytes([0, 200] if largest > 255 else [200]) * (SIDE * SIDE * channels)
    return lambda: f"{kind}\n# made by hand\n{SIDE} {SIDE}\n{largest}\n".encode() + (plain if kind < "P4" else raw)


WIDE = {
    "grey.png": png(0, 1),
    "rgb.png": png(2, 3),
    "grey-alpha.png": png(4, 2),
    "rgb-alpha.png": png(6, 4),
    "grey.tif": tiff(1, 1),
    "rgb.tif": tiff(3, 2),
    "rgb-big-endian.tif": tiff(3, 2, order=">"),
    "rgb-alpha.tif": tiff(4, 2),
    "cmyk.tif": tiff(4, 5),
    "signed.tif": tiff(1, 1, bits=8, sample_format=2),
    "signed-16.tif": tiff(1, 1, sample_format=2),
    "raw-65535.ppm": pnm("P6", 65535),
    "raw-1023.ppm": pnm("P6", 1023),
    "raw-256.ppm": pnm("P6", 256),
    "plain-65535.ppm": pnm("P3", 65535),
    "plain-256.ppm": pnm("P3", 256),
    "raw-65535.pgm": pnm("P5", 65535),
    "raw-256.pgm": pnm("P5", 256),
    "plain-1023.pgm": pnm("P2", 1023),
    "a-suffix-that-lies.jpg": png(2, 3),
}


def square(root: Path) -> Path:
    """A folder of one square image for each split and class."""
    for split in ("train", "test"):
        for level, name in enumerate(("cat", "dog"), start=30):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (SIDE, SIDE), (level, level, level)).save(root / split / name / "0.png")
    return root


@pytest.mark.parametrize("name", WIDE)
def test_more_than_8_bits_are_refused_rather_than_cut(tmp_path: Path, name: str) -> None:
    root = square(tmp_path / "pets")
    (root / "train" / "cat" / name).write_bytes(WIDE[name]())
    with pytest.raises(UserError) as error:
        load_dataset(str(root), tmp_path, cache=False)
    assert f"{name}: expected 8 bits per channel, got " in str(error.value)
    assert str(error.value).endswith("; convert it first")


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("rgb.png", png(2, 3, bits=8), None),
        ("grey-4.png", png(0, 1, bits=4), [0, 0, 0]),  # the first nibble of 1
        ("rgb.tif", tiff(3, 2, bits=8), None),
        ("rgb-big-endian.tif", tiff(3, 2, bits=8, order=">"), None),
        ("grey.tif", tiff(1, 1, bits=8), None),
        ("raw-255.ppm", pnm("P6", 255), [200, 200, 200]),
        ("plain-255.ppm", pnm("P3", 255), [200, 200, 200]),
        ("raw-200.pgm", pnm("P5", 200), [255, 255, 255]),
    ],
)
def test_up_to_8_bits_are_read(tmp_path: Path, name: str, write: Write, expected: list[int] | None) -> None:
    root = square(tmp_path / "pets")
    for split in ("train", "test"):
        (root / split / "cat" / "0.png").unlink()
        (root / split / "cat" / name).write_bytes(write())
    found = load_dataset(str(root), tmp_path, cache=False).x_train[0]
    with Image.open(root / "train" / "cat" / name) as image:
        assert found.permute(1, 2, 0).tolist() == np.asarray(image.convert("RGB")).tolist()
    assert expected in (None, found[:, 0, 0].tolist())
