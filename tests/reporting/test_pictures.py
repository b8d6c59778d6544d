"""Decision regions and galleries: drawn from stored arrays alone."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import arrays_path, read_outcomes, write_outcomes
from robustbench_ens.reporting import render_report, svg
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Figures
from robustbench_ens.reporting.figures.decision_regions import boundaries, decision_regions, numbers
from robustbench_ens.reporting.figures.gallery import Pictured, Row, gallery
from robustbench_ens.reporting.figures.pictures import class_name
from robustbench_ens.reporting.scene import Image, Line, Rect, Text, text_width
from robustbench_ens.reporting.sections.gallery import gallery_blocks_of, gallery_sections
from robustbench_ens.reporting.sections.history import history_blocks_of, history_sections
from robustbench_ens.reporting.sections.regions import regions_blocks_of, regions_sections
from robustbench_ens.reporting.tables.gallery import gallery_table
from robustbench_ens.reporting.tables.regions import nearest_boundary, regions_rows
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import HOSTILE
from tests.reporting.drawings import marks, texts, tips
from tests.reporting.test_page import Page

NAMES = ["cat", "dog", HOSTILE]
GREY = np.arange(4, dtype=np.uint8).reshape(1, 2, 2) * 80
BOUNDARY = np.zeros((21, 21), dtype=np.int32)
BOUNDARY[15:] = 1  # above a = 0.4 eps


def around(members=2):
    return np.stack([BOUNDARY, *[np.roll(BOUNDARY, k, axis=0) for k in range(1, members)], BOUNDARY * 2])


def region_arrays(images=(7, 12)):
    kept = {"regions": around(), "image": GREY, "label": np.array(0, dtype=np.int32)}
    named = {f"{image}/{name}": array for image in images for name, array in kept.items()}
    return named | {"class_names": np.array(NAMES)}


def gallery_arrays(count=4, channels=3):
    shape = (count, channels, 2, 2)
    arrays = {"indices": np.arange(count) + 40, "labels": np.zeros(count, dtype=np.int32)}
    for key, predicted in (("clean/clean/none/0", [0, 0, 0]), ("whitebox/pgd/cross_entropy/0", [0, 2, 1])):
        arrays |= {
            f"{key}/images": np.full(shape, 100, dtype=np.uint8),
            f"{key}/perturbation": np.full(shape, 0.1, dtype=np.float32),
            f"{key}/predicted": np.tile(np.array(predicted, dtype=np.int32), (count, 1)),
        }
    return arrays | {"class_names": np.array(NAMES)}


def write(root: Path, kind: str, arrays, **options) -> list[Path]:
    """Evaluations of both fake ensembles under a protocol of ``kind``."""
    paths = write_fake_outcomes(root, kinds=("blackbox",), eps=(0.2,), **options)
    for path in paths:
        file = read_outcomes(path)
        protocol = file.provenance["protocol"] | {"kind": kind, "label": f"digits/{kind}", "name": f"digits/{kind}"}
        clean = file.outcomes[file.outcomes["eps"] == 0]
        write_outcomes(path, clean, file.measurements, file.provenance | {"protocol": protocol}, arrays)
    return paths


def test_the_nearest_boundary_by_hand():
    classes = np.zeros((5, 5), dtype=np.int32)
    assert nearest_boundary(classes, 0, 0.2) is None
    classes[0, 0] = 3  # four cells away
    assert nearest_boundary(classes, 0, 0.2) == (pytest.approx(0.4), 3)
    classes[3, 3], classes[2, 0] = 7, 5  # both two cells away
    assert nearest_boundary(classes, 0, 0.2) == (pytest.approx(0.2), 5)
    assert nearest_boundary(classes, 1, 0.2) == (0.0, 0)


def test_rows_of_the_table():
    rows = regions_rows("e", around(), 0, NAMES, 0.2)
    assert [row["Model"] for row in rows] == ["ensemble", "sub-model 0", "sub-model 1"]
    assert rows[0]["Right in the square"] == "71.4%"  # 15 of 21 rows
    assert rows[0]["At l-infinity"] == "0.1"
    assert rows[1]["Nearest other class"] == "1 dog"
    ball = sum(2 * (10 - abs(a)) + 1 for a in range(-10, 11))
    wrong = sum(2 * (10 - a) + 1 for a in range(5, 11))
    assert rows[1]["Right within eps"] == f"{100 * (1 - wrong / ball):.1f}%"


def test_boundaries_and_numbers_by_hand():
    assert sorted(boundaries(np.array([[0, 0], [0, 1]]))) == [[(1, 1), (1, 2)], [(1, 1), (2, 1)]]
    assert list(boundaries(BOUNDARY)) == [[(0, 15), (21, 15)]], "neighbours in one line are one path"
    found = list(numbers(BOUNDARY))
    assert [number for *_, number in found] == [0, 1]
    assert all(BOUNDARY[row, column] == number for column, row, number in found)
    assert all((column, row) != (10, 10) for column, row, _ in found)
    speck = np.zeros((21, 21), dtype=np.int32)
    speck[3, 3] = 1
    assert [number for *_, number in numbers(speck)] == [0]


def regions_figure(members=3, width=590.0, regions=None, names=NAMES):
    planes = around(members) if regions is None else regions
    return decision_regions(planes, GREY, (7, 0, names), 0.2, "t", width)


@pytest.mark.parametrize("width", [590.0, 364.0])
@pytest.mark.parametrize("members", [1, 8])
def test_a_panel_for_every_model(members, width):
    figure = regions_figure(members, width)
    models = ["ensemble", *(f"sub-model {k}" for k in range(members))]
    assert [text for text in texts(figure) if text.startswith(("ens", "sub", "ima"))][1:] == models
    image, whole, *others = marks(figure, Image)
    assert np.array_equal(image.pixels, np.repeat(GREY[0][..., None], 3, axis=2))
    assert len(others) == members
    # The first row of the plane is the lowest; class 2 lies above a = 0.4 eps.
    assert [len(np.unique(whole.pixels[rows], axis=0)) for rows in (slice(0, 6), slice(6, 21))] == [1, 1]
    assert not np.array_equal(whole.pixels[0], whole.pixels[20])
    assert all(mark.x >= 0 and mark.x + mark.w <= width and mark.w == mark.h for mark in (image, whole, *others))
    assert tips(figure)[0] == "ensemble: right on 71% of the square"
    assert svg.standalone(figure) == svg.standalone(regions_figure(members, width))


def test_points_stand_in_the_middle_of_their_cells():
    figure = regions_figure()
    _, whole, *_ = marks(figure, Image)
    ball = next(line for line in marks(figure, Line) if line.dash)
    left = min(x for x, _ in ball.paths[0])
    assert left - whole.x == pytest.approx(whole.w / 21 / 2)


def test_numbers_stand_on_their_class_whichever_way_is_up():
    _, whole, *_ = marks(regions_figure(), Image)
    placed = [text for text in marks(regions_figure(), Text) if text.bold and text.text in "012"]
    inside = {
        text.text: text.y for text in placed if whole.x <= text.x <= whole.x + whole.w and text.y < whole.y + whole.h
    }
    boundary = whole.y + whole.h * 6 / 21
    assert inside["2"] < boundary < inside["0"]


@pytest.mark.parametrize("width", [590.0, 364.0])
def test_many_classes_have_a_legend_with_room(width):
    classes = np.arange(441).reshape(1, 21, 21)
    named = regions_figure(width=width, regions=np.concatenate([classes, classes]), names=["x" * 40] * 441)
    assert len(marks(named, Rect)) == 12
    assert "and 429 more" in texts(named)
    assert all(
        text.x + text_width(text.text, text.size) <= width for text in marks(named, Text) if text.anchor == "start"
    )


def gallery_figure(width=590.0, members=2):
    arrays = gallery_arrays(2)
    added = np.array([-0.2, 0.0, 0.1, 0.2]).reshape(1, 1, 2, 2).repeat(2, axis=0)
    clean = np.array([[0, 1, 0]] * 2)
    fooled = np.array([[0, *[12] * (members - 1), 1]] * 2)
    rows = [
        Row("clean", "clean", "none", 0, GREY[None].repeat(2, 0), np.zeros((2, 1, 2, 2)), clean),
        Row("blackbox", "sgm", "cw", 1, GREY[None].repeat(2, 0), added, fooled),
    ]
    pictured = Pictured(arrays["indices"], arrays["labels"], NAMES, 0.2)
    return gallery(rows, pictured, "t", width), gallery_table(rows, pictured.indices, pictured.labels, NAMES)


@pytest.mark.parametrize(("width", "row"), [(590.0, "black-box"), (364.0, "black-box, sgm, cw, start 1")])
def test_the_gallery_shows_images_and_what_was_added(width, row):
    figure, table = gallery_figure(width)
    images = marks(figure, Image)
    assert len(images) == 2 + 4
    assert {(image.w, image.h) for image in images} == {(images[0].w, images[0].w)}
    assert max(image.x + image.w for image in images) <= width
    assert images[3].pixels[..., 0].ravel().tolist() == [0, 128, 191, 255]
    said = texts(figure)
    assert said.count("ensemble 1✗") == said.count("subs 0 12✗") == 2
    assert said.count("ensemble 0") == 2
    assert {"test image 40", "test image 41", "class 0 cat", "0 cat, 1 dog", row} <= set(said)
    assert "black-box, sgm, cw, start 1: the ensemble predicts 1 dog, which is wrong" in tips(figure)
    assert table.iloc[1].tolist() == ["test image 40, class 0 cat", "black-box, sgm, cw, start 1", "1 dog✗", "0, 12✗"]


@pytest.mark.parametrize("width", [590.0, 364.0])
def test_every_prediction_of_many_sub_models_is_shown(width):
    figure, _ = gallery_figure(width, members=9)
    assert " ".join(texts(figure)).count("12✗") == 2 * 8
    lowest = max(text.y for text in marks(figure, Text))
    assert lowest < figure.height
    rows = sorted({text.y for text in marks(figure, Text) if text.x < 120})
    assert min(b - a for a, b in pairwise(rows)) >= 12, "no line stands on another"


@pytest.mark.parametrize("draw", [regions_figure, lambda: gallery_figure()[0]])
def test_hostile_names_are_text(draw):
    written = svg.inline(draw(), "x")
    ET.fromstring(written)
    assert "<script" not in written
    assert "\x1b" not in written


def test_class_names():
    assert class_name(3, ["0", "1", "2", "3"]) == "3"
    assert class_name(3, []) == "3"
    assert class_name(1, NAMES) == "1 dog"
    assert "\x1b" not in class_name(2, NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arrays", "title", "figures"),
    [
        ("regions", region_arrays(), "Decision regions", 2 * 2),
        ("gallery", gallery_arrays(), "Gallery of adversarial examples", 2 * 2),
    ],
)
def test_the_page_draws_what_was_stored(kind, arrays, title, figures, tmp_path):
    paths = write(tmp_path, kind, arrays, seeds=(0, 1))
    others = write_fake_outcomes(tmp_path / "others", kinds=("whitebox",))
    index = render_report([read_outcomes(p) for p in [*paths, *others]], tmp_path / "r", title="t", command="c")
    page = Page((index.parent / "details" / f"{kind}.html").read_text())
    markdown = (index.parent / "details" / f"{kind}.md").read_text()
    assert page.open == []
    assert page.tags.count("script") == 1
    assert title in page.text
    assert markdown.startswith(f"# {title}\n")
    assert len(page.ids) == len(set(page.ids))
    drawn = [path.name for path in (tmp_path / "r" / "figures").iterdir() if path.name.startswith(kind)]
    assert len(drawn) == figures, "the lowest seed of each ensemble"
    alts = re.findall(r"!\[([^]]+)\]\(\.\./figures/" + kind, markdown)
    assert len(alts) == figures
    assert all("table below" in alt and "seed 0" in alt for alt in alts)
    assert "\x1b" not in page.text + markdown
    assert "<script>alert" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


def test_no_section_without_such_outcomes(files):
    context = context_of(collect(files))
    assert regions_sections(context) == gallery_sections(context) == []


@pytest.mark.slow
def test_planes_of_different_surrogates_do_not_stand_beside_each_other(tmp_path):
    first, second = (read_outcomes(path) for path in write(tmp_path, "regions", region_arrays((7,))))
    second.provenance["sources"][0] |= {"id": "another#1", "label": "another"}
    index = render_report([first, second], tmp_path / "r", title="t", command="c")
    text = (index.parent / "details" / "regions.html").read_text()
    assert "adversarial direction of another #1000" in text
    assert text.count("<figcaption>digits/regions: test image 7") == 2


@pytest.mark.slow
def test_a_report_of_stored_files_needs_no_torch(tmp_path):
    kinds = {"regions": region_arrays(), "gallery": gallery_arrays()}
    paths = [path for kind, arrays in kinds.items() for path in write(tmp_path / kind, kind, arrays)]
    code = (
        "import sys; from pathlib import Path; from robustbench_ens.outcomes import read_outcomes;"
        "from robustbench_ens.reporting import render_report;"
        "files = [read_outcomes(Path(path)) for path in sys.argv[2:]];"
        "render_report(files, Path(sys.argv[1]), title='t', command='c'); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "r", *paths]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 0
    assert all((tmp_path / "r" / "details" / f"{kind}.html").exists() for kind in kinds)


@pytest.mark.parametrize(
    ("kind", "arrays", "sections", "blocks_of"),
    [
        ("regions", region_arrays(), regions_sections, regions_blocks_of),
        ("gallery", gallery_arrays(), gallery_sections, gallery_blocks_of),
        ("whitebox", {}, history_sections, history_blocks_of),
    ],
)
def test_an_ensembles_own_pictures_are_those_of_the_section(kind, arrays, sections, blocks_of, tmp_path):
    context = context_of(collect([read_outcomes(path) for path in write(tmp_path, kind, arrays)]))
    whole = drawings(block for section in sections(context) for block in section.blocks)
    own = {label: drawings(blocks_of(context, label)) for label in context.looks}
    assert len(own) == 2
    assert all(own.values())
    assert {name: text for figures in own.values() for name, text in figures.items()} == whole
    assert sum(map(len, own.values())) == len(whole)
    assert blocks_of(context, "not/there") == []


def drawings(blocks) -> dict[str, str]:
    """The text of each figure, by its name."""
    figures = (figure for block in blocks if isinstance(block, Figures) for figure in block.figures)
    return {figure.name: svg.standalone(figure.drawing) for figure in figures}


def test_damaged_arrays_are_one_clear_error(tmp_path):
    path = write(tmp_path, "regions", region_arrays())[0]
    arrays_path(path).write_bytes(arrays_path(path).read_bytes()[:-9])
    with pytest.raises(
        UserError, match=r"npz: expected the arrays that were written .* delete it and run `rbe attack`"
    ):
        read_outcomes(path)
