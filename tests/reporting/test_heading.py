from __future__ import annotations

import pytest

from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.heading import about, heading
from tests.reporting.conftest import HOSTILE


def test_a_report_asks_what_it_answers(files, relabelled):
    both = collect(files)
    assert heading(both) == "How robust are 2 ensembles on digits?"
    assert about(both) == "100 test images · 1 training seed · 3 protocols · l-infinity eps 0.2 · 2026-11-22"
    one = [file for file in files if file.provenance["target"]["method"] == "dverge"]
    assert heading(collect(one)) == "How robust is digits/dverge-3?"
    other = [*files[:1], *relabelled(one, label="b/x-3", dataset="b")]
    assert heading(collect(other)) == "How robust are 2 ensembles on b and digits?"


@pytest.mark.parametrize("name", [HOSTILE, "x" * 300])
def test_long_names_are_short_and_printable(files, relabelled, name):
    for changed in (relabelled(files[:1], label=name), [*files[1:2], *relabelled(files[:1], label=name, dataset=name)]):
        text = heading(collect(changed))
        assert len(text) < 120 and text.isprintable()
