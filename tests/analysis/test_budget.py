"""Accuracy against budget, by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from robustbench_ens.analysis.budget import COLUMNS, spent
from robustbench_ens.reporting.tables.budget import MOST_ROWS, budget_table

COUNTS = pd.DataFrame(
    [("t", "pgd", "cw", 10.0, 10.0), ("t", "square", "cw", 40.0, 0.0)],
    columns=["source", "attack", "loss", "forward", "backward"],
)


def attempts(*marks: tuple[str, int, str]) -> pd.DataFrame:
    """Rows of attack, restart and one mark per image: ``x`` is beaten, a blank was not attempted."""
    values = {"x": 0.0, ".": 1.0, " ": None, "h": 0.5}
    return pd.DataFrame(
        [
            {"source": "t", "attack": attack, "loss": "cw", "restart": restart, "image": image, "correct": values[mark]}
            for attack, restart, row in marks
            for image, mark in enumerate(row)
        ]
    )


def test_later_attempts_cost_what_they_attack() -> None:
    found = spent(attempts(("pgd", 0, "xx.."), ("pgd", 1, "  x."), ("square", 0, "   .")), COUNTS)
    assert found["forward"].tolist() == [10, 5, 10]
    assert found["backward"].tolist() == [10, 5, 0]
    assert found["passes"].tolist() == [20, 30, 40]
    assert found["accuracy"].tolist() == [0.5, 0.25, 0.25]


def test_a_beaten_image_stays_beaten_and_random_answers_keep_their_worst() -> None:
    found = spent(attempts(("pgd", 0, "x.h."), ("square", 0, "..hx")), COUNTS)
    assert found["accuracy"].tolist() == [(0 + 1 + 0.5 + 1) / 4, (0 + 1 + 0.5 + 0) / 4]


def test_unknown_passes_give_no_rows() -> None:
    assert spent(attempts(("sgm", 0, "xx..")), COUNTS).empty


@pytest.mark.parametrize("protocols", [1, MOST_ROWS + 3])
def test_the_table_has_the_costliest(protocols: int) -> None:
    frames = []
    for number in range(protocols):
        for seed in (0, 1):
            own = spent(attempts(("pgd", 0, "xx.."), ("pgd", 1, "  x.")), COUNTS)
            own = own.assign(forward=own["forward"] + number, protocol=f"p{number}", ensemble="e", seed=seed, eps=0.2)
            frames.append(own.assign(attempt=[1, 2]))
    table = budget_table(pd.concat(frames).reindex(columns=COLUMNS))
    assert len(table) == min(protocols, MOST_ROWS)
    first = table.iloc[0].tolist()
    assert first[:4] == [f"p{protocols - 1}", "e", "0.2", "2"]
    assert first[4:6] == [f"{15 + 2 * (protocols - 1):.1f}", "15.0"]
    assert first[6:] == ["50.0%", "25.0%"]
