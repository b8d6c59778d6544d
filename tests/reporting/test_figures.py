from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from robustbench_ens.reporting import svg
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.figures.training_history import training_history
from robustbench_ens.reporting.style import INK, RC, looks

LOOK = {"digits/a-3": looks({"a": "baseline"})["a"], "digits/b-3": looks({"b": "dverge"})["b"]}


@pytest.mark.slow
def test_history_has_a_panel_for_what_was_measured(files):
    history = collect(files).history
    own = history[history["ensemble"] == "digits/dverge-3"]
    figure = training_history(own, LOOK["digits/a-3"], "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats)", "test accuracy (%)", "lr"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert len(training_history(own[own["unit"] == "nats"], LOOK["digits/a-3"], "title").axes) == 1


def figure_of_users() -> Figure:
    """What a section of a user's own may draw."""
    with mpl.rc_context(RC):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set_title("<script>alert(1)</script>")
    return figure


def test_svg_is_the_same_twice_and_holds_no_date():
    first, second = (svg.to_svg(figure_of_users()) for _ in range(2))
    assert first == second
    assert "<dc:date>" not in first


def test_svg_keeps_hostile_text_as_text():
    text = svg.to_svg(figure_of_users())
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_standalone_has_a_ground_and_inline_follows_the_page():
    assert '<rect width="100%" height="100%" fill="#ffffff"/>' in svg.standalone(figure_of_users())
    part = svg.inline(figure_of_users(), "here")
    assert INK in svg.to_svg(figure_of_users())
    assert INK not in part
    assert "currentColor" in part
    assert "<style" not in part
    assert 'id="here-' in part
    assert "url(#here-" in part
    assert "http" not in part.replace("http://www.w3.org", "")


def test_fonts_are_those_that_come_with_matplotlib():
    assert font_manager.findfont("DejaVu Sans").endswith("DejaVuSans.ttf")
