"""Heatmaps: colours, cells, transferability, who beats whom, and which variants decide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.analysis.derive import with_interval
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting import svg
from robustbench_ens.reporting.figures.cells import FRAME, Box, Cell, draw_cell, size_in
from robustbench_ens.reporting.figures.colours import diverging, on, ramp
from robustbench_ens.reporting.figures.comparison_matrix import comparison_matrix
from robustbench_ens.reporting.figures.transfer_heatmap import panels, transfer_heatmap
from robustbench_ens.reporting.figures.variant_heatmap import variant_heatmap
from robustbench_ens.reporting.figures.variants import OWN_SOURCE, deciding_variants, effects
from robustbench_ens.reporting.scene import RULE, Line, Rect, Scene, Text, text_width
from tests.reporting.conftest import CELL, HOSTILE
from tests.reporting.drawings import marks, texts, tips

WIDTHS = [240, 364, 1200]


def contrast(one: str, other: str) -> float:
    def luminance(colour):
        channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@given(st.floats(-1.5, 1.5))
def test_text_is_readable_on_every_colour(value):
    for colour in (ramp(value), diverging(value), FRAME):
        assert contrast(on(colour), colour) >= 4.5


def test_colours_run_in_one_direction():
    shades = [contrast(ramp(share / 10), "#000000") for share in range(11)]
    assert shades == sorted(shades, reverse=True)
    assert diverging(0.5) != diverging(-0.5)
    assert ramp(-1) == ramp(0) and ramp(2) == ramp(1)


def inside(scene: Scene) -> bool:
    """Whether all rectangles and texts lie in the drawing."""
    for text in marks(scene, Text):
        own = text_width(text.text, text.size, bold=text.bold)
        right = own * {"start": 1, "middle": 0.5, "end": 0}[text.anchor]
        if not text.angle and not (text.x + right <= scene.width + 1 and 0 <= text.y <= scene.height):
            return False
        if text.angle and text.y - own < -1:
            return False
    return all(0 <= rect.x <= rect.x + rect.w <= scene.width + 1 for rect in marks(scene, Rect))


def test_cells_without_a_value_are_outlines():
    scene = Scene(20, 20)
    draw_cell(scene, Box(0, 0, 10, 10), Cell(), 8)
    draw_cell(scene, Box(10, 0, 10, 10), Cell("#ffffff", "100", "tip", hatched=True, framed=True), None)
    outline, own, frame = marks(scene, Rect)
    assert (outline.fill, outline.stroke) == ("", RULE)
    assert (own.x, own.y, own.w, own.h, own.fill) == (10.5, 0.5, 9, 9, "#ffffff")
    assert (frame.fill, frame.stroke) == ("", FRAME)
    (hatches,) = marks(scene, Line)
    assert all(10.5 <= x <= 19.5 and 0.5 <= y <= 9.5 for path in hatches.paths for x, y in path)
    assert texts(scene) == []
    assert (tips(scene), size_in(5, 5, "100")) == (["tip"], None)


# Transferability


def transfer_rates(members=3, ensemble="digits/a-3", seeds=1, **facts):
    rows = [
        CELL
        | {"ensemble": ensemble, "sub_models": members, "seed": seed, "eps": 0.2, "n": 100}
        | facts
        | {"source_member": source, "target_member": target, "success": 100 if source == target else 20 + 10 * seed}
        for seed in range(seeds)
        for source in range(members)
        for target in (*range(members), ENSEMBLE)
    ]
    return with_interval(pd.DataFrame(rows), "success", "rate")


def test_heatmaps_write_every_rate_and_put_the_ensemble_last():
    (panel,) = panels(transfer_rates(), {"digits/a-3": "a-3", "digits/b-3": "b-3"})
    scene = transfer_heatmap([panel], "title", 400)
    assert panel.columns == [0, 1, 2, ENSEMBLE]
    columns = sorted(
        (text.x, text.text) for text in marks(scene, Text) if text.text in "012E" and text.anchor == "middle"
    )
    assert [text for _, text in columns] == ["0", "1", "2", "E"]
    cells = [text.text for text in marks(scene, Text) if text.text in ("100", "20")]
    assert (cells.count("100"), cells.count("20")) == (3, 9)
    assert "a-3, crafted on sub-model 0, scored on sub-model 1: 20.0% [13.3, 28.9], n = 100" in tips(scene)
    assert "a-3, crafted on sub-model 2, scored on the ensemble: 20.0% [13.3, 28.9], n = 100" in tips(scene)


def test_heatmaps_of_several_seeds_hold_means():
    (panel,) = panels(transfer_rates(seeds=2), {"digits/a-3": "a-3"})
    assert panel.cells[0, 1].text == "25"
    assert panel.cells[0, 1].tip.replace("\N{NO-BREAK SPACE}", " ").endswith("25.0% ± 7.1, n = 100, 2 seeds")


def test_one_sub_model_has_no_panel_and_gaps_are_empty():
    assert panels(transfer_rates(1), {"digits/a-3": "a-3"}) == []
    gap = transfer_rates()
    (panel,) = panels(gap[(gap["source_member"] != 0) | (gap["target_member"] != 1)], {"digits/a-3": "a-3"})
    assert len([rect for rect in marks(transfer_heatmap([panel], "", 400), Rect) if rect.stroke == RULE]) == 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("count", "members"), [(1, 3), (1, 20), (30, 3)])
def test_many_heatmaps_wrap(count, members, width):
    names = {f"digits/{number}{HOSTILE}": f"{number}{HOSTILE}" for number in range(count)}
    shown = panels(pd.concat([transfer_rates(members, label) for label in names]), names)
    scene = transfer_heatmap(shown, HOSTILE, width)
    assert len(shown) == count
    assert inside(scene)
    assert "<script>" not in svg.inline(scene, "x")


# Who beats whom


def pair(better, worse, difference, supported, **facts):
    row = {"better": better, "worse": worse, "difference": difference, "supported": supported, "protocol": "p"}
    row |= {"low": difference - 0.01, "high": difference + 0.01, "p_adjusted": 0.0004 if supported else 1.0}
    return row | {"n": 500, "seeds": 3, "only_better": 7, "only_worse": 2} | facts


def test_the_matrix_compares_each_row_with_those_below():
    rows = [pair("a", "b", 0.5, True), pair("c", "a", 0.02, False, low=0.02, high=0.02)]
    draw = comparison_matrix(pd.DataFrame(rows), {"a": "A", "b": "B", "c": "C"}, "title", {"b"})
    scene = draw(760)
    assert [text for text in texts(scene) if text[:1] in "123"] == ["1. A", "2", "2. B\N{NO-BREAK SPACE}⚠", "3", "3. C"]
    written = [text for text in marks(scene, Text) if text.anchor == "middle" and "." in text.text]
    assert [(text.text.replace("\N{NO-BREAK SPACE}", " "), text.bold) for text in written] == [
        ("+50.0", True),
        ("= −2.0", False),  # the row is worse than the column
    ]
    assert len([rect for rect in marks(scene, Rect) if rect.stroke == RULE]) == 1  # b and c were not compared
    assert len([line for line in marks(scene, Line) if line.opacity < 1]) == 1  # what is tied is hatched
    assert tips(scene) == [
        "A minus B: +50.0 points [+49.0, +51.0], significant, p < 0.001 (Holm), n = 500, 3 seeds; "
        "only one right: A 7, B 2",
        "C minus A: +2.0 points, statistically tied, p = 1.000 (Holm), n = 500, 3 seeds; only one right: C 7, A 2",
    ]
    assert "+50" in texts(draw(130))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 2, 24])
def test_matrices_of_few_and_many_fit(count, width):
    names = {f"{number}{HOSTILE}": f"{number}{HOSTILE}" for number in range(count)}
    labels = list(names)
    rows = [pair(one, other, 0.1, True) for place, one in enumerate(labels) for other in labels[place + 1 :]]
    frame = pd.DataFrame(rows, columns=list(pair("a", "b", 0, True)))
    scene = comparison_matrix(frame, names, HOSTILE)(width)
    assert inside(scene)
    assert len(tips(scene)) == count * (count - 1) // 2
    assert "<script>" not in svg.inline(scene, "x")


# Which variants decide


def ledger_rows(variants, ensemble="digits/a-3", seed=0):
    """Rows of ``(source, attack, loss, restart, correct of 100, place or None)``."""
    rows = [
        CELL
        | {"ensemble": ensemble, "seed": seed, "eps": 0.2, "n": 100, "correct": correct, "order": order}
        | dict(zip(("source", "attack", "loss", "restart"), variant, strict=True))
        for *variant, correct, order in variants
    ]
    return with_interval(pd.DataFrame(rows).astype({"order": "Int64"}), "correct", "accuracy")


ONE = [
    ("d/s#1", "pgd", "cw", 0, 40, 2),
    ("d/s#1", "pgd", "cw", 1, 60, None),
    ("d/s#1", "sgm", "cross_entropy", 0, 30, 1),
]


def test_a_variant_is_the_share_it_breaks_and_framed_if_it_decides():
    scene = variant_heatmap(ledger_rows(ONE), {"digits/a-3": "a-3"})(760)
    assert [text for text in texts(scene) if text.isdigit()] == ["60", "40", "70"]
    assert len([rect for rect in marks(scene, Rect) if rect.stroke == FRAME]) == 2
    assert tips(scene) == [
        "a-3, pgd CW 0 from s#1: breaks 60.0% [50.2, 69.1], n = 100, decides as number 2",
        "a-3, pgd CW 1 from s#1: breaks 40.0% [30.9, 49.8], n = 100, never decides",
        "a-3, sgm CE from s#1: breaks 70.0% [60.4, 78.1], n = 100, decides as number 1",
    ]


def test_over_seeds_a_variant_decides_if_it_does_in_most():
    seeds = [[("s", "pgd", "cw", 0, 40, 1), ("s", "sgm", "cw", 0, 50, order)] for order in (2, None, None)]
    rows = pd.concat([ledger_rows(own, seed=seed) for seed, own in enumerate(seeds)])
    scene = variant_heatmap(rows, {"digits/a-3": "a-3"})(760)
    assert len([rect for rect in marks(scene, Rect) if rect.stroke == FRAME]) == 1
    assert [tip.partition("100, ")[2] for tip in tips(scene)] == [
        "3 seeds, decides as number 1 in 3 of 3 seeds",
        "3 seeds, decides as number 2 in 1 of 3 seeds",
    ]


def test_surrogates_that_differ_for_each_ensemble_are_one():
    rows = pd.concat([ledger_rows([(f"d/{name}#1", "pgd", "cw", 0, 40, 1)], name) for name in ("x", "y")])
    assert {variant.source for _, variant in effects(rows)} == {OWN_SOURCE}
    assert {effect.surrogate for effect in effects(rows).values()} == {"d/x#1", "d/y#1"}


def test_of_too_many_variants_those_that_never_decide_are_left_out():
    rows = ledger_rows(ONE)
    assert len(deciding_variants(rows, 3)) == 3
    assert deciding_variants(rows, 2)["order"].tolist() == [2, 1]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("ensembles", "starts"), [(1, 1), (9, 10), (12, 20)])
def test_variants_turn_where_they_have_no_room(ensembles, starts, width):
    names = {f"d/{number}{HOSTILE}": f"{number}{HOSTILE}" for number in range(ensembles)}
    own = [(f"s{k}{HOSTILE}", "pgd", "cw", start, 40, 1) for k in range(3) for start in range(starts)]
    scene = variant_heatmap(pd.concat([ledger_rows(own, label) for label in names]), names)(width)
    assert inside(scene)
    assert len(tips(scene)) == 3 * starts * ensembles
    assert "<script>" not in svg.inline(scene, "x")
