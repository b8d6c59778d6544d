"""Decision regions and galleries: drawn from stored arrays alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import arrays_path, read_outcomes, write_outcomes
from robustbench_ens.reporting import render_report, svg
from robustbench_ens.reporting.figures.decision_regions import boundaries, decision_regions, numbers
from robustbench_ens.reporting.figures.gallery import Row, gallery
from robustbench_ens.reporting.figures.pictures import class_name
from robustbench_ens.reporting.tables.gallery import gallery_table
from robustbench_ens.reporting.tables.regions import nearest_boundary, regions_rows
from tests.fake_outcomes import write_fake_outcomes
from tests.pages import pages_text
from tests.reporting.conftest import HOSTILE
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
    lines = sorted(boundaries(np.array([[0, 0], [0, 1]]), 1.0))
    assert lines == [[(0.0, 0.0), (0.0, 1.0)], [(0.0, 0.0), (1.0, 0.0)]]
    found = list(numbers(BOUNDARY))
    assert [number for *_, number in found] == [0, 1]
    assert all(BOUNDARY[row, column] == number for column, row, number in found)
    assert all((column, row) != (10, 10) for column, row, _ in found)
    speck = np.zeros((21, 21), dtype=np.int32)
    speck[3, 3] = 1
    assert [number for *_, number in numbers(speck)] == [0]


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 3, 5, 8])
def test_a_panel_for_every_model(members):
    figure, again = (
        decision_regions(around(members), GREY, 0, NAMES, eps=0.2, title="t", image_title="i") for _ in range(2)
    )
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["i\nclass 0 cat", "ensemble", *(f"sub-model {k}" for k in range(members))]
    whole = figure.axes[1]
    assert np.array_equal(whole.images[0].get_array(), around(members)[-1])
    low, high = whole.images[0].get_extent()[:2]
    assert (low, high) == pytest.approx((-0.21, 0.21))  # points stand in the middle of their cells
    assert {text.get_text() for text in whole.texts} == {"0", "2"}
    legend = figure.axes[2].get_legend()
    assert [text.get_text()[:5] for text in legend.get_texts()][:2] == ["0 cat", "1 dog"]
    assert svg.to_svg(figure) == svg.to_svg(again)


def test_many_classes_have_a_legend_with_room():
    classes = np.arange(441).reshape(1, 21, 21)
    figure = decision_regions(np.concatenate([classes, classes]), GREY, 0, [], eps=0.2, title="t", image_title="i")
    legend = figure.axes[2].get_legend()
    assert len(legend.get_texts()) == 12
    assert legend.get_title().get_text() == "predicted class\n(and 429 more)"


def test_the_gallery_shows_images_and_what_was_added():
    arrays = gallery_arrays(2)
    added = np.array([-0.2, 0.0, 0.1, 0.2]).reshape(1, 1, 2, 2).repeat(2, axis=0)
    rows = [
        Row("clean", "clean", "none", 0, GREY[None].repeat(2, 0), np.zeros((2, 1, 2, 2)), np.array([[0, 1, 0]] * 2)),
        Row("blackbox", "sgm", "cw", 1, GREY[None].repeat(2, 0), added, np.array([[0, 12, 1]] * 2)),
    ]
    figure = gallery(rows, arrays["indices"], arrays["labels"], NAMES, eps=0.2, title="t")
    (axes,) = figure.axes
    assert len(axes.images) == 2 + 4
    sides = {tuple(np.round(np.diff(image.get_extent()), 6)[[0, 2]]) for image in axes.images}
    assert sides == {(0.56, -0.56)}
    grey = axes.images[2].get_array()[..., 0]
    np.testing.assert_allclose(sorted(grey.ravel()), [0, 0.5, 0.75, 1])
    texts = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in axes.texts]
    assert texts.count("ensemble 1✗") == texts.count("subs 0 12✗") == 2
    assert texts.count("ensemble 0") == 2
    assert "black-box\nsgm\ncw\nstart 1" in texts
    assert {"test image 40", "test image 41", "class 0 cat", "0 cat, 1 dog"} <= set(texts)
    table = gallery_table(rows, arrays["indices"], arrays["labels"], NAMES)
    assert table.iloc[1].tolist() == ["test image 40, class 0 cat", "black-box, sgm, cw, start 1", "1 dog✗", "0, 12✗"]


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


@pytest.mark.slow
def test_no_section_without_such_outcomes(files, tmp_path):
    index = render_report(files, tmp_path / "r", title="t", command="c")
    assert 'id="regions"' not in pages_text(index.parent, "html")
    assert 'id="gallery"' not in pages_text(index.parent, "html")


@pytest.mark.slow
def test_planes_of_different_surrogates_do_not_stand_beside_each_other(tmp_path):
    first, second = (read_outcomes(path) for path in write(tmp_path, "regions", region_arrays((7,))))
    second.provenance["sources"][0] |= {"id": "another#1", "label": "another"}
    index = render_report([first, second], tmp_path / "r", title="t", command="c")
    text = (index.parent / "details" / "regions.html").read_text()
    assert "adversarial direction of another #1000" in text
    assert text.count("<figcaption>digits/regions: test image 7") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "arrays"), [("regions", region_arrays()), ("gallery", gallery_arrays())])
def test_a_report_of_stored_files_needs_no_torch(kind, arrays, tmp_path):
    paths = write(tmp_path, kind, arrays)
    code = (
        "import sys; from pathlib import Path; from robustbench_ens.outcomes import read_outcomes;"
        "from robustbench_ens.reporting import render_report;"
        "files = [read_outcomes(Path(path)) for path in sys.argv[2:]];"
        "render_report(files, Path(sys.argv[1]), title='t', command='c'); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "r", *paths]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 0
    assert (tmp_path / "r" / "index.html").exists()


def test_damaged_arrays_are_one_clear_error(tmp_path):
    path = write(tmp_path, "regions", region_arrays())[0]
    arrays_path(path).write_bytes(arrays_path(path).read_bytes()[:-9])
    with pytest.raises(
        UserError, match=r"npz: expected the arrays that were written .* delete it and run `rbe attack`"
    ):
        read_outcomes(path)
