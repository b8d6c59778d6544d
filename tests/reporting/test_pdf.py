"""Drawings as PDF: fonts, sizes, and the structure of the file."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest

from robustbench_ens.reporting.document import FigureBlock, figure_block
from robustbench_ens.reporting.pdf import (
    ONE_COLUMN,
    PIXELS,
    POINTS,
    SMALLEST_TEXT,
    TWO_COLUMNS,
    figure_pdf,
    laid_out,
    scene_pdf,
    sizes,
)
from robustbench_ens.reporting.scene import Circle, Image, Rect, Scene, Shape
from robustbench_ens.reporting.style import RC
from tests.reporting.conftest import HOSTILE


def drawing(width: float, size: float = 12.0) -> Scene:
    scene = Scene(width, 200)
    scene.add(Rect(10, 60, 30, 20, fill="#d9700a", stroke="ink", radius=4), Circle(60, 70, 10, stroke="#2f80d8"))
    scene.add(Shape([(80, 60), (100, 60), (90, 80)], fill="soft", opacity=0.5))
    scene.add(Image(110, 60, 20, 20, np.arange(12, dtype=np.uint8).reshape(2, 2, 3)))
    scene.line([(10, 90), (120, 90)], dash=(4, 2))
    inner = Scene(20, 20)
    with inner.marked(tip="a tip that is not drawn"):
        inner.text(0, 10, HOSTILE, size=size)
    scene.place(inner, 10, 95)
    scene.text(60, 110, "bold ± 1", bold=True, angle=45, anchor="middle", size=size)
    return scene


def streams(pdf: bytes) -> list[bytes]:
    found = re.findall(rb"/Length (\d+) /Filter /FlateDecode [^\n]*>>\nstream\n", pdf)
    starts = [match.end() for match in re.finditer(rb">>\nstream\n", pdf)]
    return [zlib.decompress(pdf[start : start + int(size)]) for size, start in zip(found, starts, strict=True)]


@pytest.fixture(scope="module")
def pdf() -> bytes:
    return scene_pdf(drawing(400), ONE_COLUMN)


def test_every_object_lies_where_the_table_says(pdf: bytes) -> None:
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", pdf).group(1))
    assert pdf[start:].startswith(b"xref\n0 ")
    places = [int(place) for place in re.findall(rb"(\d{10}) 00000 n ", pdf[start:])]
    for number, place in enumerate(places, start=1):
        assert pdf[place:].startswith(f"{number} 0 obj\n".encode())
    referred = {int(number) for number in re.findall(rb"(\d+) 0 R", pdf)}
    assert referred <= set(range(1, len(places) + 1))


def test_fonts_are_embedded_as_true_type(pdf: bytes) -> None:
    assert pdf.count(b"/FontFile2") == pdf.count(b"/CIDFontType2") == 2
    assert b"/Type3" not in pdf and pdf.count(b"/ToUnicode") == 2
    assert re.findall(rb"/BaseFont /[A-Z]{6}\+(DejaVuSans(?:-Bold)?) /Enc", pdf) == [b"DejaVuSans", b"DejaVuSans-Bold"]


def test_all_marks_are_drawn_and_tips_are_not(pdf: bytes) -> None:
    (operators,) = (text.decode() for text in streams(pdf) if text[-3:] in (b" ET", b" Q\n", b"\nQ"))
    counts = {name: len(re.findall(rf"\b{name}\b", operators)) for name in ("BT", "Do", "B", "f", "S", "d", "gs")}
    assert counts == {"BT": 2, "Do": 1, "B": 1, "f": 1, "S": 2, "d": 1, "gs": 1}


def test_the_page_is_as_wide_as_the_column_and_no_higher_than_what_is_drawn(pdf: bytes) -> None:
    width, height = map(float, re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf).groups())
    assert width == pytest.approx(ONE_COLUMN)
    assert height < (113.6 + 4 - 56 + 4) * ONE_COLUMN / 400  # from the marks at 60 to the text at 110, with a margin


def test_the_same_scene_gives_the_same_bytes(pdf: bytes) -> None:
    assert scene_pdf(drawing(400), ONE_COLUMN) == pdf


@pytest.mark.parametrize("width", [ONE_COLUMN, TWO_COLUMNS])
@pytest.mark.parametrize("size", [8.0, 10.0, 14.0])
def test_text_is_large_enough_at_both_widths(width: float, size: float) -> None:
    figure = figure_block("f", lambda pixels: drawing(pixels, size), "alt", 1100.0, {})
    scene = laid_out(figure, width)
    assert min(sizes(scene.marks)) * width / scene.width >= SMALLEST_TEXT - 1e-9
    assert scene.width >= min(width * PIXELS / POINTS, scene.width)


def test_a_figure_of_one_layout_is_scaled() -> None:
    figure = FigureBlock("f", drawing(900), "alt")
    assert f"/MediaBox [0 0 {TWO_COLUMNS:.2f} ".encode() in figure_pdf(figure, TWO_COLUMNS)


def test_a_figure_of_matplotlib_embeds_true_type_and_has_no_date() -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(RC):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().set_title(HOSTILE)
    made = figure_pdf(FigureBlock("f", figure, "alt"), ONE_COLUMN)
    assert b"/FontFile2" in made and b"/Type3" not in made and b"CreationDate" not in made
