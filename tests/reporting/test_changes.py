from __future__ import annotations

import copy
import json

import pytest

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.errors import UserError
from robustbench_ens.reporting import render_report
from robustbench_ens.reporting.changes import SUMMARY, changes, last_report, snapshot
from robustbench_ens.reporting.collect import collect
from tests.pages import pages_text

WHITE = ("digits/whitebox", "digits/baseline-3", 0.2)


@pytest.fixture(scope="module")
def summary(files):
    return json.loads(json.dumps(snapshot(collect(files)), allow_nan=False))


def rate(summary, protocol, ensemble, eps):
    (row,) = [r for r in summary["rates"] if (r["protocol"], r["ensemble"], r["eps"]) == (protocol, ensemble, eps)]
    return row


def test_what_a_report_says(summary):
    assert set(summary["ensembles"]) == {"digits/baseline-3", "digits/dverge-3"}
    assert set(summary["protocols"]) == {"digits/whitebox", "digits/blackbox", "digits/transferability"}
    assert {row["eps"] for row in summary["rates"]} == {0.0, 0.2}
    assert rate(summary, *WHITE)["accuracy"] == pytest.approx(0.01)
    assert rate(summary, WORST, *WHITE[1:])["accuracy"] <= 0.01
    assert summary["tiers"]["digits/dverge-3"] == ["digits/blackbox", "digits/whitebox"]


def test_nothing_changed(summary):
    assert changes(summary, summary) == []


def test_what_came_and_what_went(summary):
    old = copy.deepcopy(summary)
    old["ensembles"]["digits/gone-3"] = old["ensembles"].pop("digits/dverge-3")
    del old["protocols"]["digits/whitebox"], old["protocols"]["digits/blackbox"]
    old["rates"] = []
    said = changes(old, summary)
    assert said == [
        "New ensemble: digits/dverge-3.",
        "Removed ensemble: digits/gone-3.",
        "New protocols: digits/blackbox and digits/whitebox.",
    ]


def test_other_weights_and_another_protocol(summary):
    old = copy.deepcopy(summary)
    old["ensembles"]["digits/dverge-3"]["0"] = old["protocols"]["digits/whitebox"] = "other"
    assert changes(old, summary) == [
        "Changed protocol: digits/whitebox.",
        "Changed weights: digits/dverge-3 (seed 0).",
    ]


def test_training_seeds_that_came_and_went(summary):
    more = copy.deepcopy(summary)
    for weights in more["ensembles"].values():
        weights |= {"1": "one", "10": "ten"}
    more["ensembles"]["digits/dverge-3"].pop("10")
    assert changes(summary, more) == [
        "New training seed 1 of digits/dverge-3.",
        "New training seeds 1 and 10 of digits/baseline-3.",
    ]
    assert changes(more, summary)[1] == "Removed training seeds 1 and 10 of digits/baseline-3."


def test_a_rate_beyond_its_interval(summary):
    old = copy.deepcopy(summary)
    old["ensembles"]["digits/baseline-3"]["0"] = "other"
    rate(old, *WHITE).update(accuracy=0.5, low=0.4, high=0.6)
    (said,) = [text for text in changes(old, summary) if "became" in text]
    assert said.startswith(
        "digits/baseline-3, digits/whitebox at eps 0.2: 50.0% [40.0,\N{NO-BREAK SPACE}60.0] became 1.0%"
    )


def test_a_rate_within_its_interval_moved_only_on_the_same_weights(summary):
    old = copy.deepcopy(summary)
    rate(old, *WHITE).update(accuracy=0.05, low=0.02, high=0.11)
    (said,) = changes(old, summary)
    assert said.endswith("on the same weights.")
    old["ensembles"]["digits/baseline-3"]["0"] = "other"
    assert not any("became" in text for text in changes(old, summary))


def test_a_worst_case_over_other_protocols_says_so(summary):
    old = copy.deepcopy(summary)
    rate(old, WORST, *WHITE[1:]).update(accuracy=0.5, low=0.4, high=0.6)
    old["tiers"]["digits/baseline-3"] = ["digits/blackbox"]
    assert changes(old, summary)[0].endswith("over other protocols.")


@pytest.mark.slow
def test_a_report_that_is_made_again_keeps_its_bytes(files, folder):
    def render(some):
        render_report(some, folder, title="Digits", command="rbe report")
        return pages_text(folder) + pages_text(folder, "html") + (folder / "summary.json").read_text()

    only_one = [file for file in files if file.provenance["target"]["method"] == "dverge"]
    first = render(only_one)
    assert "Since the last report" not in first
    second = render(files)
    assert "New ensemble: digits/baseline-3." in second
    assert render(files) == second == render(files[::-1])
    third = render(only_one)
    assert "Removed ensemble: digits/baseline-3." in third


@pytest.mark.parametrize("content", ['{"previous": null}', '{"previous": null, "schema": 99}'])
def test_a_file_of_another_version_is_no_last_report(content, summary, tmp_path):
    (tmp_path / SUMMARY).write_text(content)
    assert last_report(tmp_path, summary) is None
    assert last_report(tmp_path / "nowhere", summary) is None


@pytest.mark.parametrize("content", ["", "[]", "{", "\ud800", '{"schema": 1}', "[" * 5000, '{"a": 1e999}', "null"])
def test_a_damaged_summary_is_one_line(content, summary, tmp_path):
    (tmp_path / SUMMARY).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"summary.json: expected .* damaged file .*; delete it to report without"):
        last_report(tmp_path, summary)
