from __future__ import annotations

import itertools
import math

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.figures.training_history import training_history
from robustbench_ens.reporting.scene import Line
from robustbench_ens.reporting.style import INK, RC, looks
from tests.reporting.conftest import HOSTILE
from tests.reporting.drawings import marks, texts, tips

LOOK = looks({"a": "baseline"})["a"]


def history(seeds: int = 2) -> pd.DataFrame:
    """Four epochs of an ensemble of two sub-models."""
    rows = []
    for seed, epoch in itertools.product(range(seeds), range(4)):
        rows += [
            (seed, "train/cross_entropy", ENSEMBLE, epoch, 3.0 - epoch, "nats"),
            (seed, "train/log_det", ENSEMBLE, epoch, -0.5 * epoch, "nats"),
            *((seed, "test/accuracy", member, epoch, 0.2 * (epoch + 1), "1") for member in (ENSEMBLE, 0, 1)),
            (seed, "train/lr", ENSEMBLE, epoch, 0.1, "1"),
        ]
    return pd.DataFrame(rows, columns=["seed", "name", "target_member", "step", "value", "unit"])


@pytest.mark.parametrize("width", [1180.0, 364.0])
def test_history_has_a_panel_for_what_was_measured(width):
    figure = training_history(history(), LOOK, HOSTILE, width)
    said = texts(figure)
    assert [text for text in said if text in ("Loss", "Test accuracy", "Learning rate")] == [
        "Loss",
        "Test accuracy",
        "Learning rate",
    ]
    assert {"cross entropy", "log det", "ensemble", "sub-models"} <= set(said)
    assert "\x1b" not in svg.standalone(figure)
    assert tips(figure) == [
        "Loss: cross entropy 3 in epoch 0, 0 in epoch 3; log det 0 in epoch 0, -1.5 in epoch 3",
        "Test accuracy: accuracy 20 in epoch 0, 80 in epoch 3",
        "Learning rate: lr 0.1 in epoch 0, 0.1 in epoch 3",
    ]
    drawn = [path for line in marks(figure, Line) for path in line.paths if len(path) == 4]
    assert len(drawn) == 2 * (2 + 3 + 1), "a line for each seed"
    assert all(0 <= x <= width for path in drawn for x, _ in path)


@pytest.mark.parametrize(
    ("kept", "panels"), [(["train/cross_entropy"], 1), (["train/lr", "test/accuracy"], 2), (["train/epoch_s"], 0)]
)
def test_what_was_not_measured_has_no_panel(kept, panels):
    rows = history()
    figure = training_history(rows[rows["name"].isin(kept)], LOOK, "t", 590.0)
    assert texts(figure).count("epoch") == panels
    last = rows[rows["step"] == 3]
    only = training_history(last[last["name"] == "test/accuracy"], LOOK, "t", 590.0)
    assert texts(only) == ["t"], "measured at the end only"


def test_a_loss_that_diverged_is_left_out_and_the_rest_drawn():
    rows = history(seeds=1)
    rows.loc[rows["step"] == 3, "value"] = math.nan
    written = svg.standalone(training_history(rows, LOOK, "t", 590.0))
    assert "nan" not in written
    assert "cross entropy" in written


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
