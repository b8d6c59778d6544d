import dataclasses

import pandas as pd
import pytest

from robustbench_ens.analysis.health import (
    MARK,
    NEXT,
    SIGNS,
    attack_warnings,
    collect_health,
    file_health,
    health_table,
    health_warnings,
    unhealthy,
)
from robustbench_ens.config.protocols import HealthLimits
from robustbench_ens.outcomes import MEASUREMENTS
from robustbench_ens.reporting import render_report, summaries
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Table
from tests.pages import pages_text
from tests.reporting.conftest import details

HEALTHY = {
    "zero_gradient": 0.0,
    "non_finite_gradient": 0.0,
    "loss_rising": 1.0,
    "saturated": 0.0,
    "budget_used": 1.0,
    "budget_kept": 1.0,
    "identical_restarts": 0.0,
    "doubling_gain": 0.01,
    "self_transfer_gain": 0.1,
}
SICK = {
    "zero_gradient": 0.06,
    "non_finite_gradient": 0.01,
    "loss_rising": 0.89,
    "saturated": 0.11,
    "budget_used": 0.89,
    "budget_kept": 0.0,
    "identical_restarts": 0.51,
    "doubling_gain": 0.051,
    "self_transfer_gain": 0.251,
}


def with_health(file, *signs, limits=None):
    """``file`` with these signs, each a dict sign -> value, at steps 0, 1, ..."""
    own = file.provenance["target"]["id"]
    rows = [
        (own, -1, own, -1, f"health/pgd/cross_entropy/{name}", 0.2, step, value, "1")
        for step, values in enumerate(signs)
        for name, value in values.items()
    ]
    measurements = pd.DataFrame(rows, columns=MEASUREMENTS.names)
    protocol = file.provenance["protocol"]
    resolved = protocol["resolved"] | {"health": HealthLimits().model_dump() | (limits or {})}
    provenance = file.provenance | {"protocol": protocol | {"resolved": resolved}}
    return dataclasses.replace(file, measurements=measurements, provenance=provenance)


@pytest.fixture
def whitebox(files):
    return next(file for file in files if file.provenance["protocol"]["kind"] == "whitebox")


def test_a_healthy_attack_is_healthy(whitebox):
    health = file_health(with_health(whitebox, HEALTHY))
    assert set(health["sign"]) == set(SIGNS) and health["healthy"].all()
    assert health_warnings(health) == [] and unhealthy(health) == set()


@pytest.mark.parametrize("sign", SICK)
def test_each_sign_alone_makes_it_unhealthy_and_its_worst_step_counts(whitebox, sign):
    health = file_health(with_health(whitebox, HEALTHY, HEALTHY | {sign: SICK[sign]}, HEALTHY))
    (row,) = health[~health["healthy"]].to_dict("records")
    assert (row["sign"], row["step"], row["value"]) == (sign, 1, SICK[sign])
    (text,) = health_warnings(health)
    assert SIGNS[sign] in text and "digits/whitebox" in text
    assert text.endswith(f"; try next: {', '.join(NEXT[sign])}.")
    assert unhealthy(health) == {("digits/whitebox", whitebox.provenance["target"]["label"])}


def test_the_limits_are_the_protocols(whitebox):
    file = with_health(whitebox, HEALTHY | {"zero_gradient": 0.06}, limits={"zero_gradient": 0.1})
    assert file_health(file)["healthy"].all()


def older(file, sign):
    """``file`` as a version wrote it that did not know ``sign``."""
    protocol = file.provenance["protocol"]
    health = {name: limit for name, limit in protocol["resolved"]["health"].items() if name != sign}
    resolved = protocol["resolved"] | {"health": health}
    rows = file.measurements[~file.measurements["name"].str.endswith(f"/{sign}")]
    changed = {"provenance": file.provenance | {"protocol": protocol | {"resolved": resolved}}, "measurements": rows}
    return dataclasses.replace(file, **changed)


def test_files_of_before_a_sign_was_measured_are_judged_by_the_others(whitebox):
    health = file_health(older(with_health(whitebox, HEALTHY), "saturated"))
    assert set(health["sign"]) == set(SIGNS) - {"saturated"} and health["healthy"].all()
    assert "Loss saturated" not in health_table(health)
    assert "Loss saturated" in health_table(file_health(with_health(whitebox, HEALTHY)))
    mixed = dataclasses.replace(
        older(with_health(whitebox, SICK), "saturated"), measurements=with_health(whitebox, SICK).measurements
    )
    (row,) = file_health(mixed).query("sign == 'saturated'").to_dict("records")
    assert row["limit"] == HealthLimits().saturated and not row["healthy"]


def test_one_warning_for_each_unhealthy_attack(whitebox):
    sick = with_health(whitebox, SICK)
    other = sick.measurements.assign(name=sick.measurements["name"].str.replace("cross_entropy", "cw"))
    both = dataclasses.replace(sick, measurements=pd.concat([sick.measurements, other]))
    texts = attack_warnings(file_health(both))
    assert len(texts) == 2 and attack_warnings(file_health(with_health(whitebox, HEALTHY))) == []
    for text, loss in zip(texts, ("cross_entropy", "cw"), strict=True):
        assert f"attack pgd with {loss} under digits/whitebox is unhealthy" in text
        assert "loss saturated 11.0% (limit 10.0%; eps 0.2)" in text
        assert text.isascii() and "\n" not in text


def test_ensembles_with_the_same_signs_share_a_warning(whitebox):
    health = file_health(with_health(whitebox, SICK))
    alike = pd.concat([health, health.assign(ensemble="digits/other")])
    (text,) = health_warnings(alike)
    label = whitebox.provenance["target"]["label"]
    assert text.startswith(f"digits/whitebox against {label} (seed 0) and digits/other (seed 0) is unhealthy")
    apart = pd.concat([health, health[1:].assign(ensemble="digits/other")])
    assert len(health_warnings(apart)) == 2


def test_outcomes_without_health_are_not_judged(files):
    assert collect_health(files).empty


def test_the_table_shows_the_worst_over_seeds(seeds):
    whitebox = [file for file in seeds if file.provenance["protocol"]["kind"] == "whitebox"]
    label = whitebox[0].provenance["target"]["label"]
    own = [file for file in whitebox if file.provenance["target"]["label"] == label]
    changed = [with_health(file, HEALTHY | {"loss_rising": 0.95 - 0.1 * i}) for i, file in enumerate(own)]
    (row,) = health_table(collect_health(changed)).to_dict("records")
    assert row["Loss rose"].startswith("75.0") and row["Verdict"] == "unhealthy"


@pytest.mark.slow
def test_the_report_warns_marks_and_lists(tmp_path, files, whitebox):
    sick = with_health(whitebox, SICK)
    others = [file for file in files if file is not whitebox]
    render_report([sick, *others], tmp_path, title="x", command="y")
    for page in (pages_text(tmp_path, "html"), pages_text(tmp_path)):
        assert "is unhealthy, its accuracy may be too high" in page
        assert "\N{NO-BREAK SPACE}⚠" in page
        assert "Attack health" in page
    render_report(files, tmp_path / "plain", title="x", command="y")
    assert "\N{NO-BREAK SPACE}⚠" not in pages_text(tmp_path / "plain", "html")


def test_a_share_at_its_limit_keeps_it_whatever_the_rounding(whitebox):
    limit = HealthLimits().doubling_gain
    assert file_health(with_health(whitebox, HEALTHY | {"doubling_gain": limit + 1e-15}))["healthy"].all()


@pytest.mark.parametrize("kind", ["whitebox-convergence", "blackbox-convergence"])
def test_accuracy_by_steps_is_marked(whitebox, kind):
    def as_kind(file):
        protocol = file.provenance["protocol"] | {"kind": kind}
        return dataclasses.replace(file, provenance=file.provenance | {"protocol": protocol})

    (sick,), (well,) = (summaries([as_kind(with_health(whitebox, sign))]).values() for sign in (SICK, HEALTHY))
    assert sick["50 steps"].tolist() == [text + MARK for text in well["50 steps"]]
    assert not well.map(lambda cell: MARK in cell).any(axis=None)


def test_what_is_printed_after_an_attack_is_marked(whitebox):
    sick, well = (summaries([with_health(whitebox, sign)])[""] for sign in (SICK, HEALTHY))
    assert sick["White-box accuracy"][0] == well["White-box accuracy"][0] + MARK
    assert not well.map(lambda cell: MARK in cell).any(axis=None)


@pytest.mark.slow
def test_every_number_that_rests_on_an_unhealthy_attack_is_marked(files, whitebox):
    """Its accuracies and what the worst case makes of them, in every table; and no other's."""
    label = whitebox.provenance["target"]["label"]
    others = [file for file in files if file is not whitebox]
    numbers = {}
    for section in details(context_of(collect([with_health(whitebox, SICK), *others]))):
        for table in section.blocks:
            if isinstance(table, Table) and section.anchor in ("summary", "comparison", "whitebox", "blackbox"):
                for row in table.frame.to_dict("records"):
                    ours = label in (row.get(name) for name in ("Ensemble", "Higher", "Lower"))
                    found = sum(str(cell).endswith(MARK) or f"{MARK} by" in str(cell) for cell in row.values())
                    assert ours or not found
                    about = (section.anchor, "digits/blackbox" in table.caption) if ours else None
                    numbers.setdefault(about, []).append(found)
    assert set(numbers.pop(("whitebox", False))) == {2, 1}  # a row has both eps, or is of one eps and seed
    assert set(numbers.pop(("comparison", False))) == {1}
    assert all(found == 0 for about, rows in numbers.items() if about and about[1] for found in rows)
    assert sum(sum(rows) for about, rows in numbers.items() if about and about[0] == "summary") == 2
