"""Tables of the kinds that are no accuracy at each eps: diversity, distillation, convergence."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from robustbench_ens.analysis import derive
from robustbench_ens.check.cells import evaluate
from robustbench_ens.core.text import MEAN_AND_STD, NBSP
from robustbench_ens.outcomes import MEASUREMENTS
from robustbench_ens.reporting import render_report, summaries
from robustbench_ens.reporting.tables.convergence import convergence_table, largest_change
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_matrix, diversity_table
from tests.pages import pages_text
from tests.reporting.conftest import CELL, outcome_rows
from tests.reporting.test_tables import plain

LOSSES = {(0, 0): 0.1, (0, 1): 2.0, (0, 2): 3.0, (1, 0): 4.0, (1, 1): 0.2, (1, 2): 5.0, (2, 0): 6.0, (2, 1): 7.0}


def measurement_rows(named, **what):
    """Rows of one ensemble: ``(name, source member, target member, value)``."""
    rows = [{"name": n, "source_member": i, "target_member": j, "value": value} for n, i, j, value in named]
    common = {"target": "a#0", "source": "a#0", "eps": 0.2, "step": 10, "unit": "nats"}
    return pd.DataFrame(rows).assign(**{**common, **CELL, "kind": "diversity", **what})


def diversity_rows(mean=4.5, **what):
    pairs = [("diversity", i, j, loss) for (i, j), loss in (LOSSES | {(2, 2): 0.3}).items()]
    errors = [(f"{name}/standard_error", i, j, 0.5) for name, i, j, _ in pairs]
    whole = [("diversity", -1, -1, mean), ("diversity/standard_error", -1, -1, 0.1), ("diversity/images", -1, -1, 80)]
    return measurement_rows([*pairs, *errors, *whole], **what)


def distillation_rows(distance=1.056, **what):
    named = [("distance", distance), ("rms_distance", 0.1), ("relative_distance", 0.5), ("loss", 1.726)]
    rows = [(f"distillation/{name}", -1, -1, value) for name, value in named]
    rows += [("distillation/distance", member, -1, 9.0) for member in range(3)]
    errors = [(f"{name}/standard_error", i, j, 0.01) for name, i, j, _ in rows]
    return measurement_rows([*rows, *errors, ("distillation/images", -1, -1, 80)], **{"kind": "distillation", **what})


def test_the_matrix_is_equation_2():
    matrix = diversity_matrix(diversity_rows())
    assert matrix.to_numpy().tolist() == [[0.1, 3.0, 4.5], [3.0, 0.2, 6.0], [4.5, 6.0, 0.3]]


def test_diversity_table():
    table = plain(diversity_table(pd.concat([diversity_rows(), diversity_rows(eps=0.3)])))
    assert table.iloc[0].tolist() == ["digits/a-3", "0.2", "0", "80", "4.500 [4.304, 4.696]", "3.000 to 6.000"]
    assert table["eps"].tolist() == ["0.2", "0.3"]


def test_one_image_has_no_interval():
    rows = diversity_rows()
    table = diversity_table(rows[~rows["name"].str.endswith("error")])
    assert table["Diversity, nats"].tolist() == ["4.500"]


def test_distillation_table_has_the_columns_of_table_2():
    table = plain(distillation_table(pd.concat([distillation_rows(eps=0.03), distillation_rows(eps=0.05)])))
    assert table.iloc[0].tolist() == [
        *("digits/a-3", "0.03", "10", "0", "80"),
        *("1.056 [1.036, 1.076]", "0.100 [0.080, 0.120]", "0.500 [0.480, 0.520]", "1.726 [1.706, 1.746]"),
    ]
    assert table["eps"].tolist() == ["0.03", "0.05"]


def test_several_seeds_end_with_their_mean():
    rows = pd.concat([diversity_rows(mean, seed=seed) for seed, mean in ((1, 5.0), (0, 4.0))])
    table = plain(diversity_table(rows))
    assert table["Seed"].tolist() == ["0", "1", MEAN_AND_STD.replace(NBSP, " ")]
    assert table["Diversity, nats"].iloc[-1] == "4.500 ± 0.707"
    rows = pd.concat([distillation_rows(mean, seed=seed) for seed, mean in ((1, 5.0), (0, 4.0))])
    table = plain(distillation_table(rows))
    assert table.iloc[-1].tolist()[3:6] == ["mean ± std", "2 seeds", "4.500 ± 0.707"]


def convergence_outcomes(kept, **what):
    """Outcomes of 10 images from two restarts; at each number of steps the first restart keeps so many."""
    rows = [{"eps": 0.0, "steps": 0, "attack": "clean", "image": image, "correct": True} for image in range(10)]
    for steps, count in kept.items():
        for image in range(10):
            right = image < count
            rows.append({"steps": steps, "image": image, "correct": right})
            rows.append({"steps": steps, "image": image, "restart": 1, "correct": True if right else None})
    return outcome_rows([{"kind": "whitebox-convergence", "protocol": "p", **what, **row} for row in rows])


def test_convergence_is_all_or_nothing_for_each_number_of_steps():
    rates = derive.convergence(convergence_outcomes({50: 8, 500: 5, 1000: 6}))
    assert rates[["steps", "n", "correct"]].to_numpy().tolist() == [[50, 10, 8], [500, 10, 5], [1000, 10, 6]]
    assert plain(convergence_table(rates)).to_dict("records") == [
        {
            "Ensemble": "digits/a-3",
            "eps": "0.1",
            "Seed": "0",
            "n": "10",
            "50 steps": "80.0% [49.0, 94.3]",
            "500 steps": "50.0% [23.7, 76.3]",
            "1,000 steps": "60.0% [31.3, 83.2]",
            "Largest change": "−30.0",
        }
    ]


def test_convergence_over_seeds():
    rates = derive.convergence(
        pd.concat([convergence_outcomes({50: 8, 500: 7}), convergence_outcomes({50: 6, 500: 7}, seed=1)])
    )
    table = plain(convergence_table(rates))
    assert table["Largest change"].tolist() == ["−10.0", "+10.0", "0.0"]
    assert table.iloc[-1].tolist()[3:6] == ["2 seeds", "70.0% ± 14.1", "70.0% ± 0.0"]


@pytest.mark.parametrize(("rates", "change"), [([0.5], 0.0), ([0.5, 0.4, 0.7], 0.2), ([0.5, 0.2, 0.6], -0.3)])
def test_largest_change(rates, change):
    assert largest_change(pd.Series(rates)) == pytest.approx(change)


def test_new_kinds_are_no_accuracy():
    rows = convergence_outcomes({50: 8, 500: 5})
    for kind in ("whitebox-convergence", "diversity", "distillation"):
        assert derive.accuracies(rows.assign(kind=kind)).empty
        assert derive.attempts(rows.assign(kind=kind)).empty


@pytest.fixture
def measured_files(files):
    """Files of every new kind, one ensemble each, made from those of a white-box evaluation."""
    whitebox = next(file for file in files if file.provenance["protocol"]["kind"] == "whitebox")

    def change(kind, outcomes, measurements):
        protocol = whitebox.provenance["protocol"] | {"kind": kind, "label": f"digits/{kind}", "hash": kind}
        measurements = measurements.assign(target=whitebox.provenance["target"]["id"])
        return dataclasses.replace(
            whitebox,
            provenance=whitebox.provenance | {"protocol": protocol, "sources": []},
            outcomes=outcomes,
            measurements=pd.concat([whitebox.measurements, measurements[MEASUREMENTS.names]]),
        )

    own = whitebox.outcomes
    longer = pd.concat([own, own[own["eps"] > 0].assign(steps=500)], ignore_index=True)
    return [
        change("diversity", own[own["eps"] == 0], diversity_rows()),
        change("distillation", own[own["eps"] == 0], distillation_rows()),
        *(change(f"{kind}-convergence", longer, diversity_rows().head(0)) for kind in ("whitebox", "blackbox")),
    ]


@pytest.mark.slow
def test_what_is_printed(files, measured_files):
    everything = [*files, *measured_files]
    tables = summaries(everything)
    assert list(tables) == [
        "",
        "Black-box convergence, digits/blackbox-convergence",
        "White-box convergence, digits/whitebox-convergence",
        "Distillation, digits/distillation",
        "Diversity, digits/diversity",
    ]
    assert list(tables[""].columns) == list(summaries(files)[""].columns)
    assert "500 steps" in tables["White-box convergence, digits/whitebox-convergence"]
    assert "" not in summaries(measured_files)


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
def test_a_report_of_them_is_written(files, measured_files, folder, alone):
    everything = measured_files if alone else [*files, *measured_files]
    render_report(everything, folder, title="t", command="rbe report")
    pages = pages_text(folder, "html")
    assert "Diversity" in pages and "Black-box convergence" in pages


def test_checks_read_them(measured_files):
    for file in measured_files:
        cells = evaluate(file).cells
        by_steps = {f"accuracy at eps {eps} after {steps} steps" for eps in (0.1, 0.2) for steps in (50, 500)}
        convergence = file.provenance["protocol"]["kind"].endswith("convergence")
        assert set(cells) == {"clean accuracy"} | (by_steps if convergence else set())
