"""Drawings as SVG: what is written where, what readers can point at, and that hostile text stays text."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import PIL.Image
import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from robustbench_ens.reporting import svg
from robustbench_ens.reporting.scene import (
    INK,
    Circle,
    Image,
    Line,
    Placed,
    Rect,
    Scene,
    Shape,
    Text,
    fitted,
    text_width,
    wrapped,
)
from tests.reporting.conftest import HOSTILE

TAGS = {"svg", "g", "a", "text", "tspan", "rect", "title"}


def drawn() -> Scene:
    scene = Scene(100, 50, (99, 10, "end"))
    scene.line([(0, 0), (10.126, 5)], width=2, dash=(3, 1))
    scene.add(Rect(1, 2, 3, 4, fill="#ff0000", radius=1), Circle(5, 6, 7, stroke=INK), Shape([(0, 0), (1, 0), (0, 1)]))
    with scene.marked("DVERGE: 47.7%", page="ensembles/dverge"):
        scene.text(3, 4, "DVERGE", bold=True)
    inner = Scene(10, 10)
    with inner.marked("cell 3"):
        inner.add(Rect(0, 0, 10, 10, fill=INK))
    scene.place(inner, 20, 30)
    return scene


def test_marks_stand_where_they_were_put():
    text = svg.inline(drawn(), "x")
    assert 'd="M0 0L10.13 5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="3 1"' in text
    assert '<rect x="1" y="2" width="3" height="4" rx="1" fill="#ff0000"/>' in text
    assert '<circle cx="5" cy="6" r="7" fill="none" stroke="currentColor" stroke-width="1"/>' in text
    assert 'd="M0 0L1 0L0 1z"' in text
    assert '<g transform="translate(20 30)">' in text


def test_a_page_shows_tips_by_hover_and_focus_at_the_place_of_the_whole_drawing():
    text = svg.inline(drawn(), "x", lambda path: f"../{path}.html")
    assert '<a class="mark" href="../ensembles/dverge.html">' in text
    assert '<g class="mark" tabindex="0" role="img" aria-label="cell 3">' in text
    # The inner drawing is moved by (20, 30), so that its tip is moved back.
    assert '<text class="tip" aria-hidden="true" x="79" y="-20" text-anchor="end" font-size="12">cell 3</text>' in text


def test_a_file_has_titles_on_white_ground_and_no_links():
    text = svg.standalone(drawn())
    root = ET.fromstring(text)
    assert root.get("viewBox") == "0 0 100 50"
    assert [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")] == ["DVERGE: 47.7%", "cell 3"]
    assert "href" not in text and "tabindex" not in text and "currentColor" not in text and "var(" not in text


@pytest.mark.parametrize("write", [svg.standalone, lambda scene: svg.inline(scene, "x")])
def test_hostile_text_is_text(write):
    scene = Scene(100, 20, (0, 0, "start"))
    with scene.marked(HOSTILE + '" onload="x', page='a"b'):
        scene.text(0, 10, HOSTILE)
    root = ET.fromstring(write(scene).partition("?>\n")[2] or write(scene))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= TAGS
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    assert "\x1b" not in write(scene)


def test_pixels_are_kept():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    scene = Scene(8, 4)
    scene.add(Image(0, 0, 8, 4, pixels))
    address = re.search(r'href="data:image/png;base64,([^"]+)"', svg.inline(scene, "x"))
    assert address is not None
    assert (np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(address[1])))) == pixels).all()


def test_groups_are_found_at_any_depth():
    assert [group.tip for group in drawn().groups()] == ["DVERGE: 47.7%", "cell 3"]
    outer = Scene(1, 1)
    outer.add(Placed(drawn(), 0, 0), Line([[(0, 0), (1, 1)]]), Text(0, 0, "x"))
    assert len(list(outer.groups())) == 2


def test_widths_are_those_of_the_font_in_matplotlib():
    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    font.set_size(100, 72)
    for letter in "aW1 ~%":
        glyph = font.load_char(ord(letter))
        assert text_width(letter, 100) == pytest.approx(glyph.linearHoriAdvance / 65536, abs=0.1)
    assert text_width("数", 10) == 10


@pytest.mark.parametrize("name", ["short", "digits/dverge-3[hyperparameters.eps=0.15,epochs=5]", "数字" * 30])
def test_a_fitted_name_fits_and_keeps_its_ends(name):
    for width in (30.0, 90.0, 1000.0):
        text = fitted(name, 12, width)
        assert text_width(text, 12) <= width
        assert text == name or "…" in text
        assert text == "…" or text[0] == name[0]


def test_tips_that_are_wider_than_the_drawing_are_wrapped():
    scene = Scene(100, 60, (50, 40, "middle"))
    with scene.marked("digits/dverge-3, worst case: 9.8% ± 4.6"):
        scene.text(0, 10, "x")
    lines = ET.fromstring(svg.inline(scene, "x")).findall(".//text[@class='tip']/tspan")
    assert len(lines) >= 2 and all(line.get("x") == "50" for line in lines)
    said = wrapped("digits/dverge-3, worst case: 9.8% ± 4.6", 12, 100)
    assert " ".join(said).replace("…", "") and all(text_width(line, 12) <= 100 for line in said)
    assert wrapped("a b", 12, 100) == ["a b"]
