from __future__ import annotations

import pytest
from matplotlib import font_manager

from robustbench_ens.analysis import derive
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.figures.training_history import training_history
from robustbench_ens.reporting.figures.transfer_heatmap import transfer_heatmap
from robustbench_ens.reporting.style import INK, looks
from tests.reporting.conftest import HOSTILE, rates

LOOK = {"digits/a-3": looks({"a": "baseline"})["a"], "digits/b-3": looks({"b": "dverge"})["b"]}


def two_points():
    return rates([{"eps": 0.0, "correct": 90}, {"eps": 0.2, "correct": 30}, {"ensemble": "digits/b-3", "correct": 60}])


def test_curve_passes_through_the_rates_in_percent():
    axes = accuracy_curve(two_points(), LOOK, "title").axes[0]
    line = axes.lines[0]
    assert line.get_xydata().ravel().tolist() == pytest.approx([0, 90, 0.2, 30])
    assert (line.get_color(), line.get_marker()) == (LOOK["digits/a-3"].colour, LOOK["digits/a-3"].marker)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(100 * two_points()["low"].iloc[1])


def test_curve_of_several_seeds_is_their_mean_with_the_outermost_band():
    frame = rates([{"seed": 0, "correct": 20}, {"seed": 1, "correct": 40}])
    axes = accuracy_curve(frame, LOOK, "title").axes[0]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([30])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((100 * frame["low"].min(), 100 * frame["high"].max()))


def test_heatmap_writes_every_rate_and_puts_the_ensemble_last(files):
    transfer = derive.transferability(gather(files))
    cell = transfer[(transfer["ensemble"] == "digits/baseline-3") & (transfer["eps"] == 0.2)]
    axes = transfer_heatmap(cell, "title", "note").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "ensemble"]
    written = [text.get_text() for text in axes.texts]
    assert len(written) == 12
    assert [written[0], written[5], written[10]] == ["100.0"] * 3
    assert len(axes.patches) == 3


@pytest.mark.slow
def test_history_has_a_panel_for_what_was_measured(files):
    history = collect(files).history
    own = history[history["ensemble"] == "digits/dverge-3"]
    figure = training_history(own, LOOK["digits/a-3"], "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats)", "test accuracy (%)", "lr"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert len(training_history(own[own["unit"] == "nats"], LOOK["digits/a-3"], "title").axes) == 1


def test_svg_is_the_same_twice_and_holds_no_date():
    first, second = (svg.to_svg(accuracy_curve(two_points(), LOOK, "title")) for _ in range(2))
    assert first == second
    assert "<dc:date>" not in first


def test_svg_keeps_hostile_text_as_text():
    text = svg.to_svg(accuracy_curve(two_points(), LOOK, HOSTILE))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text


def test_standalone_has_a_ground_and_inline_follows_the_page():
    figure = accuracy_curve(two_points(), LOOK, "title")
    assert '<rect width="100%" height="100%" fill="#ffffff"/>' in svg.standalone(figure)
    part = svg.inline(figure, "here")
    assert INK in svg.to_svg(figure)
    assert INK not in part
    assert "currentColor" in part
    assert "<style" not in part
    assert 'id="here-' in part
    assert "url(#here-" in part
    assert "http" not in part.replace("http://www.w3.org", "")


def test_fonts_are_those_that_come_with_matplotlib():
    assert font_manager.findfont("DejaVu Sans").endswith("DejaVuSans.ttf")
