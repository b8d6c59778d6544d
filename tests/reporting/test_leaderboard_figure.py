"""The leaderboard as a picture: what stands where, what its marks show, and that it fits any width."""

from __future__ import annotations

import dataclasses

import pytest

from robustbench_ens.reporting.board import BoardRow, Rate, board, short_names
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.cost import Cost
from robustbench_ens.reporting.figures.leaderboard import MOST_ROWS, leaderboard_figure
from robustbench_ens.reporting.scene import Circle, Group, Line, Scene, Text, text_width
from robustbench_ens.reporting.style import looks
from tests.reporting.conftest import HOSTILE


def rate(value: float, **facts: object) -> Rate:
    text = f"{100 * value:.1f}%"
    plain = Rate(value, max(0, value - 0.1), min(1, value + 0.1), None, "100", 1, ("digits/whitebox",), True, text)
    return dataclasses.replace(plain, **facts)


def row(name: str = "digits/a-3", worst: float = 0.5, **facts: object) -> BoardRow:
    attacks = {"whitebox": rate(worst), "blackbox": rate(min(1, worst + 0.2))}
    plain = BoardRow(
        *("digits", name, "a", 3, 1, None, rate(worst), ("digits/whitebox",), attacks, rate(0.99), rate(0.2)),
        *(Cost({}, complete=True), 100, (), True, "100", 1),
    )
    return dataclasses.replace(plain, **facts)


def draw(rows: list[BoardRow], width: float = 1200, pages: dict[str, str] | None = None) -> Scene:
    return leaderboard_figure(rows, looks({one.ensemble: "a" for one in rows}), pages or {}, width=width)


def texts(scene: Scene) -> list[Text]:
    found = [mark for mark in scene.marks if isinstance(mark, Text)]
    return found + [mark for group in scene.groups() for mark in group.marks if isinstance(mark, Text)]


def x_of(scene: Scene, text: str) -> float:
    return next(mark.x for mark in texts(scene) if mark.text == text)


def test_marks_stand_on_one_axis():
    scene = draw([row(worst=0.5)])
    zero, whole = x_of(scene, "0%"), x_of(scene, "100%")
    (group,) = [group for group in scene.groups() if "worst case" in group.tip]
    (dot,) = [mark for mark in group.marks if isinstance(mark, Circle)]
    (whisker,) = [mark for mark in group.marks if isinstance(mark, Line)]
    assert dot.x == pytest.approx(zero + 0.5 * (whole - zero))
    ends = [x for x, _ in whisker.paths[0]]
    assert ends == pytest.approx([zero + 0.4 * (whole - zero), zero + 0.6 * (whole - zero)])


def test_tips_give_number_interval_n_and_protocols():
    (tip,) = [group.tip for group in draw([row()]).groups() if "worst case" in group.tip]
    assert tip == "digits/a-3, worst case: 50.0%, n = 100, 1 seed, set by digits/whitebox"
    ill = row(worst=0.1, unhealthy=("digits/whitebox",))
    ill = dataclasses.replace(ill, worst=dataclasses.replace(ill.worst, healthy=False))
    tips = [group.tip for group in draw([ill]).groups()]
    assert any(tip.endswith("rests on an unhealthy attack") for tip in tips)
    assert "digits/a-3: unhealthy attacks under digits/whitebox" in tips
    assert "⚠" in [text.text for text in texts(draw([ill]))]


@pytest.mark.parametrize(("differs", "rules"), [(True, 1), (False, 0), (None, 0)])
def test_a_rule_between_neighbours_that_differ_significantly(differs, rules):
    rows = [row("digits/a-3", 0.7, differs_below=differs), row("digits/b-3", 0.2, place=2)]
    scene = draw(rows)
    assert len([mark for mark in scene.marks if isinstance(mark, Line) and mark.dash]) == rules


def test_names_link_to_pages_that_are_there():
    scene = draw([row("digits/a-3"), row("digits/b-3")], pages={"digits/a-3": "ensembles/digits-a-3"})
    assert [group.page for group in scene.groups() if group.page] == ["ensembles/digits-a-3"]


def test_what_was_not_run_has_no_mark():
    bare = row(worst=0.5)
    bare = dataclasses.replace(bare, worst=None, clean=None, transfer="not run", health_known=False)
    bare = dataclasses.replace(bare, attacks={"whitebox": "not run", "blackbox": "only at eps 0.1"})
    scene = draw([bare])
    assert [group.tip for group in scene.groups() if group.tip] == ["digits/a-3: health of attacks not measured"]
    assert "not run" in [text.text for text in texts(scene)]


@pytest.mark.parametrize("width", [300.0, 364.0, 700.0, 1200.0])
@pytest.mark.parametrize("name", ["digits/dverge-3", HOSTILE])
def test_nothing_leaves_the_drawing(width, name):
    scene = draw([row(f"{name}{number}", 1 - number / 20, place=number + 1) for number in range(15)], width)
    assert len([group for group in scene.groups() if "clean" in group.tip]) == MOST_ROWS
    for text in texts(scene):
        wide = text_width(text.text, text.size, bold=text.bold)
        left = {"start": text.x, "middle": text.x - wide / 2, "end": text.x - wide}[text.anchor]
        assert left >= -1 and left + wide <= width + 1, text
        assert 0 < text.y < scene.height


def test_it_draws_what_the_board_says(files, seeds):
    for collection in (collect(files), collect(seeds)):
        rows = board(collection)
        marked = [group for group in draw(rows).groups() if isinstance(group, Group) and "worst case" in group.tip]
        assert [own.worst.text in group.tip for own, group in zip(rows, marked, strict=True) if own.worst] == [True] * 2


def test_names_lose_the_folder_that_all_share():
    assert short_names(["digits/a-3", "digits/b"]) == {"digits/a-3": "a-3", "digits/b": "b"}
    assert short_names(["digits/a", "b"]) == {"digits/a": "digits/a", "b": "b"}
    assert short_names(["digits/a", "cifar/a"])["digits/a"] == "digits/a"
    assert short_names([]) == {}
