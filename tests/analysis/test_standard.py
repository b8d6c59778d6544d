from __future__ import annotations

import pandas as pd
import pytest

from robustbench_ens.analysis.standard import at_headline, headline_eps


@pytest.mark.parametrize(
    ("dataset", "ladder", "eps", "text"),
    [
        ("digits", [0.0, 0.1, 0.2, 0.3], 0.2, "0.2"),
        ("cifar10", [0.01, 0.03, 0.07], 0.03, "0.03"),
        ("cifar10-jpeg", [0.03], 0.03, "0.03"),
        ("cifar100", [0.01, 0.03], 0.03, "0.03"),
        ("digits", [0.1, 0.15, 0.3], 0.15, "0.15 (middle of the ladder)"),
        ("shells", [0.1, 0.2], 0.2, "0.2 (middle of the ladder)"),
    ],
)
def test_standard_or_middle(dataset, ladder, eps, text):
    chosen = headline_eps(dataset, ladder)
    assert chosen is not None
    assert (chosen.eps, str(chosen)) == (eps, text)


def test_no_attack_no_eps():
    assert headline_eps("digits", [0.0]) is None


def test_rows_at_the_headline_eps():
    rows = pd.DataFrame({"eps": [0.0, 0.1, 0.2]})
    assert at_headline(rows, headline_eps("digits", rows["eps"]))["eps"].tolist() == [0.2]
    assert at_headline(rows, None).empty
