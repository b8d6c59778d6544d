"""The leaderboard on the terminal: bars, columns that fit, rules and marks."""

from __future__ import annotations

import dataclasses

import pytest

from robustbench_ens.cli.leaderboard import bar_of, board_lines
from robustbench_ens.config.kinds import shipped_kinds
from robustbench_ens.reporting.board import BoardRow
from tests.reporting.conftest import HOSTILE
from tests.reporting.test_leaderboard_figure import row

KINDS = shipped_kinds()


def rows() -> list[BoardRow]:
    return [row("digits/a-3", 0.5, differs_below=True), row("digits/b-3", 0.25, place=2)]


@pytest.mark.parametrize(
    ("share", "unicode", "bar"),
    [
        (0.5, True, "████    "),
        (0.4375, True, "███▌    "),
        (0.0, True, "        "),
        (1.0, True, "████████"),
        (0.5, False, "####    "),
        (0.01, False, "        "),
    ],
)
def test_a_bar_fills_its_share(share, unicode, bar):
    assert bar_of(share, 8, unicode=unicode) == bar


def test_a_line_per_ensemble_with_its_numbers_and_a_rule():
    title, heads, first, rule, second, legend = board_lines(rows(), KINDS, 120)
    assert title == "digits, not attacked, n = 100"
    assert heads.split() == ["worst", "case", "White-box", "Black-box", "Clean", "Transfer"]
    assert first.split() == ["1", "digits/a-3", "█" * 20, "50.0%", "50.0%", "70.0%", "99.0%", "20.0%"]
    assert set(rule) == {"╌"}
    assert second.split()[:4] == ["2", "digits/b-3", "█" * 10, "25.0%"]
    assert legend == "Bar: worst case; rule: above and below differ significantly."


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["digits/dverge-3", HOSTILE])
def test_it_fits_and_never_cuts_a_number(width, name):
    own = [row(f"{name}{number}", 0.9 - number / 20, place=number + 1) for number in range(12)]
    lines = board_lines(own, KINDS, width)
    assert all(line.isprintable() for line in lines)
    longest = max(len(line) for line in lines[1:-1])
    assert longest <= max(width, 62)
    assert all(f"{100 * one.worst.value:.1f}%" in line for one, line in zip(own, lines[2:], strict=False) if one.worst)


def test_marks_and_missing_numbers():
    ill, bare = rows()
    ill = dataclasses.replace(ill, worst=dataclasses.replace(ill.worst, healthy=False), differs_below=None)
    bare = dataclasses.replace(bare, worst=None)
    lines = board_lines([ill, bare], KINDS, 100)
    assert "50.0%" in lines[2] and "⚠" in lines[2] and "not run" in lines[3]
    assert lines[-1] == "Bar: worst case; ⚠: rests on an unhealthy attack."


def test_without_unicode_bars_are_of_ascii():
    lines = board_lines(rows(), KINDS, 120, unicode=False)
    assert "#" * 20 in lines[2] and set(lines[3]) == {"-"}
