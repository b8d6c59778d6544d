"""Curves: axes, markers, labels that never overlap, tips; and the figures that are made of them."""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.reporting import svg
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.figures.axes import ladder_axis, nice_ticks, number_axis, percent_axis
from robustbench_ens.reporting.figures.budget_curve import budget_curve
from robustbench_ens.reporting.figures.curves import LABEL_SIZE, Curve, Dot, Mark, curves
from robustbench_ens.reporting.figures.labels import spread
from robustbench_ens.reporting.figures.marks import marker
from robustbench_ens.reporting.scene import GROUND, Circle, Line, Scene, Shape, Text, text_width
from robustbench_ens.reporting.style import Look, looks
from tests.reporting.conftest import HOSTILE, rates
from tests.reporting.drawings import marks, texts, tips

LOOK = looks({"digits/a-3": "baseline", "digits/b-3": "dverge"})
PLAIN = LOOK["digits/a-3"]


def frame():
    return rates([{"eps": 0.0, "correct": 90}, {"eps": 0.2, "correct": 30}, {"ensemble": "digits/b-3", "correct": 60}])


def line_of(scene: Scene, look: Look) -> Line:
    """The line of a curve, which is wider than its leader and its bars."""
    (line,) = [mark for mark in marks(scene, Line) if mark.colour == look.colour and mark.width == 1.8]
    return line


def ends_of_axes(scene: Scene) -> tuple[float, float, float]:
    """Where 0 across, 0% and 100% lie, by the grid."""
    grid = [mark.paths[0] for mark in marks(scene, Line) if mark.colour == "rule"]
    return grid[0][0][0], grid[0][0][1], grid[-1][0][1]


def test_a_curve_passes_through_the_rates_in_percent():
    scene = accuracy_curve(frame(), LOOK, "title")(400)
    left, bottom, top = ends_of_axes(scene)
    (first, last) = line_of(scene, PLAIN).paths[0]
    assert first == (pytest.approx(left), pytest.approx(bottom + 0.9 * (top - bottom)))
    assert last[1] == pytest.approx(bottom + 0.3 * (top - bottom))
    (band,) = [mark for mark in marks(scene, Shape) if mark.opacity < 1]
    assert max(y for _, y in band.points) == pytest.approx(bottom + frame()["low"].iloc[1] * (top - bottom))


def test_tips_state_rate_interval_n_and_seeds():
    assert tips(accuracy_curve(frame(), LOOK, "t")(400)) == [
        "a-3, clean: 90.0% [82.6, 94.5], n = 100",
        "a-3, eps 0.2: 30.0% [21.9, 39.6], n = 100",
        "b-3, eps 0.2: 60.0% [50.2, 69.1], n = 100",
    ]
    several = rates([{"seed": seed, "correct": correct, "n": n} for seed, correct, n in ((0, 20, 100), (1, 40, 90))])
    scene = accuracy_curve(several, LOOK, "t")(400)
    assert tips(scene) == ["a-3, eps 0.2: 32.2% ± 17.3, n = 90 to 100, 2 seeds"]
    (bar,) = [mark for mark in marks(scene, Line) if mark.width == 1.2]
    (_, upper), (_, lower) = bar.paths[0]
    _, bottom, top = ends_of_axes(scene)
    assert (lower - upper) / (bottom - top) == pytest.approx(2 * 0.1728, abs=1e-3)


def test_the_band_of_several_seeds_reaches_from_the_lowest_to_the_highest_end():
    rows = [
        {"seed": seed, "eps": eps, "correct": correct} for seed, correct in ((0, 20), (1, 40)) for eps in (0.0, 0.2)
    ]
    scene = accuracy_curve(rates(rows), LOOK, "t")(400)
    _, bottom, top = ends_of_axes(scene)
    (band,) = [mark for mark in marks(scene, Shape) if mark.opacity < 1]
    ends = sorted({round((bottom - y) / (bottom - top), 4) for _, y in band.points})
    assert ends == pytest.approx([rates(rows)["low"].min(), rates(rows)["high"].max()], abs=1e-4)


def test_values_at_the_dashed_line_stand_beside_the_names():
    scene = accuracy_curve(frame(), LOOK, "t", 0.2)(400)
    (dashed,) = [mark for mark in marks(scene, Line) if mark.colour == "soft" and mark.dash]
    assert dashed.paths[0][0][0] == pytest.approx(line_of(scene, PLAIN).paths[0][1][0])
    written = {text.text: text for text in marks(scene, Text)}
    assert "% at 0.2" in written
    assert written["30.0"].y == written["a-3"].y and written["60.0"].y == written["b-3"].y


@pytest.mark.parametrize("width", [240, 364, 1200])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_names_never_overlap_nor_leave_the_drawing(count, width):
    names = [f"digits/ensemble-{number}" for number in range(count - 1)] + [f"digits/{HOSTILE}"]
    look = looks(dict.fromkeys(names, "dverge"))
    rows = [{"ensemble": name, "eps": eps, "correct": 90 - 90 * (eps > 0)} for name in names for eps in (0.0, 0.2)]
    scene = accuracy_curve(rates(rows), look, HOSTILE, 0.2)(width)
    for text in marks(scene, Text):
        across = text_width(text.text, text.size, bold=text.bold) * {"start": 1, "middle": 0.5, "end": 0}[text.anchor]
        assert text.x + across <= width + 1
        assert 0 < text.y < scene.height
    numbers = sorted(text.y for text in marks(scene, Text) if text.text == "0.0" and text.x == width)
    assert len(numbers) == count
    assert all(after - before >= LABEL_SIZE for before, after in pairwise(numbers))
    assert "<script>" not in svg.inline(scene, "x")


def test_missing_values_break_nothing():
    dots = [Dot(0, 50), Dot(1, math.nan), Dot(2, 40, low=math.nan)]
    axes = (number_axis("x", [0, 1, 2]), percent_axis("y"))
    scene = curves([Curve("some", PLAIN, dots), Curve("none", PLAIN, [Dot(0, math.nan)])], "t", axes, None, 300)
    assert len(line_of(scene, PLAIN).paths[0]) == 2
    assert "none" not in texts(scene)
    assert texts(curves([], "t", axes, Mark(5, "at 5"), 300)).count("at 5") == 0


def test_budget_is_a_point_per_attempt_at_its_passes():
    row = {"ensemble": "digits/a-3", "seed": 0}
    budget = pd.DataFrame(
        [row | {"attempt": k, "passes": 100.0 * k, "accuracy": 0.5 / k} for k in (1, 2)]
        + [row | {"seed": 1, "attempt": k, "passes": 100.0 * k, "accuracy": 0.7 / k} for k in (1, 2)]
    )
    assert tips(budget_curve(budget, LOOK, "t")(400))[0] == "a-3, attempt 1, after 100.0 passes: 60.0% ± 14.1, 2 seeds"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(1, 5))
def test_spread_keeps_order_and_distance_within_its_limits(wanted, gap):
    wanted.sort()
    found = spread(wanted, gap, 0, 300)
    assert all(after - before >= gap - 1e-9 for before, after in pairwise(found))
    assert found[0] >= 0 and found[-1] <= 300 + 1e-9
    if all(after - before >= gap for before, after in pairwise(wanted)):
        assert found == pytest.approx(wanted)


def test_spread_moves_as_little_as_can_be():
    assert spread([10, 10], 4, 0, 100) == [8, 12]
    assert spread([0, 1, 50], 4, 0, 100) == [0, 4, 50]
    assert spread([99, 100], 4, 0, 100) == [96, 100]
    assert spread([5, 5, 5], 4, 0, 6) == [0, 4, 8]


def test_ticks_are_round():
    assert nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert nice_ticks(0, 0.3) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert nice_ticks(3, 17) == [5, 10, 15]
    assert [text for _, text in number_axis("n", [1, 22], whole=True, low=1).ticks] == ["5", "10", "15", "20"]
    assert [text for _, text in number_axis("n", [1, 2], whole=True, low=1).ticks] == ["1", "2"]
    assert number_axis("n", []).high > 0


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low, length):
    ticks = nice_ticks(low, low + length)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 * length <= tick <= low + length * (1 + 1e-6) + 1e-9 for tick in ticks)


@pytest.mark.parametrize("width", [240, 720])
def test_texts_of_ticks_never_overlap(width):
    ladder = [0.001 * 2**power for power in range(9)]
    scene = curves([], "t", (ladder_axis("eps", ladder), percent_axis("%")), None, width)
    below = [text for text in marks(scene, Text) if text.anchor == "middle"]
    reach = [(text.x, text_width(text.text, text.size) / 2) for text in below]
    assert all(x - half > before + other for (before, other), (x, half) in pairwise(reach))
    assert len(below) < len(ladder)


def test_markers_have_the_shape_and_filling_of_the_look():
    every = {name: marker(10, 20, Look("#112233", name, (0, ()), "full")) for name in "os^DvPX*"}
    assert isinstance(every["o"][0], Circle)
    corners = {name: len(mark.points) for name, (mark,) in every.items() if isinstance(mark, Shape)}
    assert corners == {"s": 4, "^": 3, "D": 4, "v": 3, "P": 12, "X": 12, "*": 10}
    for side, half in (("left", 0), ("right", 0), ("top", 1), ("bottom", 1)):
        outline, filled = marker(10, 20, Look("#112233", "s", (0, ()), side))
        assert (outline.fill, filled.fill) == (GROUND, "#112233")
        values = [point[half] - (10, 20)[half] for point in filled.points]
        assert (max(values) <= 1e-9) == (side in ("left", "top"))
        assert (min(values) >= -1e-9) == (side in ("right", "bottom"))
