from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.health import COLUMNS
from robustbench_ens.reporting.badges import badges, changed_badge, health_badge, warnings_badge
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import collect


def health(*signs: tuple[str, str, bool]) -> pd.DataFrame:
    plain = {"protocol": "p", "kind": "whitebox", "ensemble": "e", "seed": 0, "loss": "cw", "eps": 0.1, "step": 1}
    rows = [plain | {"attack": a, "sign": s, "value": 0.5, "limit": 0.1, "healthy": h} for a, s, h in signs]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_an_attack_is_unhealthy_if_one_of_its_signs_is():
    found = health_badge(health(("pgd", "saturated", True), ("pgd", "doubling_gain", False), ("mi", "saturated", True)))
    assert (found.text, found.level) == ("1 of 2 attacks unhealthy", "warn")
    assert len(found.items) == 1 and "doubl" not in found.text
    well = health_badge(health(("pgd", "saturated", True), ("mi", "saturated", True)))
    assert (well.text, well.level, well.items) == ("all 2 attacks healthy", "ok", [])
    assert health_badge(health()).text == "health of attacks not measured"


def test_warnings_and_changes_are_counted_and_listed():
    assert warnings_badge([]).text == "no warnings"
    assert (warnings_badge(["w"]).text, warnings_badge(["w"]).items) == ("1 warning", ["w"])
    assert changed_badge([]).text == "unchanged since the last report"
    assert (changed_badge(["a", "b"]).text, changed_badge(["a", "b"]).items[1]) == (
        "changed since the last report: 2",
        "b",
    )


def test_the_badges_of_a_report(seeds):
    collection = collect(seeds)
    found = badges(collection, board(collection), [], [], None).badges
    assert [badge.text for badge in found] == [
        "health of attacks not measured",
        "no warnings",
        "training cost 0.117 CPU-h",
    ]
    assert found[-1].items == ["digits/dverge-3: 0.0195 CPU-h", "digits/baseline-3: 0.0195 CPU-h"]
    assert len(badges(collection, board(collection), [], ["tied"], ["new"]).badges) == 5
