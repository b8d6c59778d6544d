"""Cells and facts of one outcomes file, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustbench_ens.check.cells import evaluate, family
from robustbench_ens.check.pin import read_pin
from robustbench_ens.config.kinds import BY_STEPS, shipped_kinds
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE, OUTCOMES, OutcomeFile

WRONG, RIGHT, SPARED = False, True, None
PINS = Path(__file__).parents[2] / "reports" / "regression"


def _file(kind: str, rows: list[dict[str, Any]], sources: tuple[str, ...] = ()) -> OutcomeFile:
    common = {"target": "e#0", "target_member": ENSEMBLE, "source": "e#0", "source_member": ENSEMBLE, "attack": "pgd"}
    common |= {"loss": "cross_entropy", "restart": 0, "steps": 1, "aggregation": "mean_softmax", "eps": 0.1, "label": 0}
    frame = pd.DataFrame([common | row for row in rows])
    frame["correct"] = frame["correct"].astype(object)
    if "predicted" not in frame:
        frame["predicted"] = frame["correct"].map({RIGHT: 0.0, WRONG: 1.0})
    provenance = {
        "protocol": {"label": f"digits/{kind}", "hash": "p1", "kind": kind, "resolved": {}},
        "target": {"label": "e", "recipe_hash": "r1", "seed": 0, "weights": "w1", "sub_models": 2}
        | {"dataset": "digits", "method": "baseline"},
        "sources": [{"weights": weights} for weights in sources],
    }
    return OutcomeFile(Path(f"{kind}.parquet"), provenance, frame[OUTCOMES.names], pd.DataFrame())


def _clean(correct: list[bool]) -> list[dict[str, Any]]:
    plain = {"attack": "clean", "loss": "none", "eps": 0.0}
    return [plain | {"image": image, "correct": value} for image, value in enumerate(correct)]


def _starts(*starts: list[bool | None], **columns: Any) -> list[dict[str, Any]]:
    return [
        columns | {"restart": restart, "image": image, "correct": value}
        for restart, row in enumerate(starts)
        for image, value in enumerate(row)
    ]


def test_weights_are_those_of_the_target_and_of_its_surrogates() -> None:
    rows = _clean([RIGHT]) + _starts([RIGHT])
    digests = [evaluate(_file("blackbox", rows, sources)).weights for sources in ((), ("w2",), ("w3",), ("w2",))]
    assert len(set(digests)) == 3
    assert digests[1] == digests[3]


def test_whitebox() -> None:
    rows = _clean([RIGHT, RIGHT, WRONG]) + _starts([RIGHT, WRONG, WRONG], [RIGHT, SPARED, SPARED])
    found = evaluate(_file("whitebox", rows))
    assert (found.protocol, found.ensemble, found.seed) == ("digits/whitebox", "e", 0)
    assert {name: units.tolist() for name, units in found.cells.items()} == {
        "clean accuracy": [[True], [True], [False]],
        "accuracy at eps 0.1": [[True], [False], [False]],
    }
    assert found.facts == {
        "protocol hash": "p1",
        "recipe hash": "r1",
        "sub-models": 2,
        "images": 3,
        "aggregation": "mean_softmax",
        "variants": 1,
        "restarts of pgd": 2,
    }


def test_self_transfer_comes_after_the_direct_attack() -> None:
    """An image that the direct attack has beaten is spared by the later ones."""
    rows = _clean([RIGHT, RIGHT]) + _starts([RIGHT, WRONG])
    rows += _starts([WRONG, SPARED], attack="pgd_through_mean_logits")
    cells = evaluate(_file("whitebox", rows)).cells
    assert {name: units.tolist() for name, units in cells.items()} == {
        "clean accuracy": [[True], [True]],
        "accuracy at eps 0.1": [[False], [False]],
        "accuracy after pgd with cross_entropy at eps 0.1": [[True], [False]],
    }


def test_restarts_are_told_by_survivors_alone() -> None:
    """Rows of starts that were never made do not count, and without survivors nothing is claimed."""
    beaten = _clean([RIGHT, RIGHT]) + _starts([WRONG, WRONG], [SPARED, SPARED])
    assert "restarts of pgd" not in evaluate(_file("whitebox", beaten)).facts
    one_start = _clean([RIGHT, RIGHT]) + _starts([RIGHT, WRONG])
    assert evaluate(_file("whitebox", one_start)).facts["restarts of pgd"] == 1


def test_blackbox() -> None:
    rows = _clean([RIGHT, RIGHT])
    for loss, starts in {
        "cross_entropy": ([RIGHT, WRONG], [RIGHT, RIGHT]),
        "cw": ([RIGHT, WRONG], [WRONG, RIGHT]),
    }.items():
        rows += _starts(*starts, source="s#9", attack="momentum_pgd", loss=loss)
    found = evaluate(_file("blackbox", rows))
    assert {name: units.tolist() for name, units in found.cells.items()} == {
        "clean accuracy": [[True], [True]],
        "accuracy at eps 0.1": [[False], [False]],
        "accuracy under momentum_pgd with cross_entropy at eps 0.1": [[True], [False]],
        "accuracy under momentum_pgd with cw at eps 0.1": [[False], [False]],
        "losses differ at eps 0.1": [[False, True], [False, False]],
    }
    assert (found.facts["variants"], found.facts["restarts of momentum_pgd"]) == (2, 2)


def test_losses_differ_by_prediction_not_by_correctness() -> None:
    rows = _clean([RIGHT])
    for loss, predicted in (("cross_entropy", 3), ("cw", 7)):
        rows += [{"attack": "momentum_pgd", "loss": loss, "image": 0, "correct": WRONG, "predicted": predicted}]
    rows[0]["predicted"] = 0
    assert evaluate(_file("blackbox", rows)).cells["losses differ at eps 0.1"].tolist() == [[True]]


@pytest.mark.parametrize("categories", [True, False])
def test_attempts_are_columns_in_the_order_of_the_file(categories: bool) -> None:
    """Pinned bits are in that order; of plain texts, which no file has, in the alphabetical one."""
    rows = _clean([RIGHT])
    for attack, losses_differ in (("momentum_pgd", True), ("m_di2_fgsm", False)):
        for loss in ("cross_entropy", "cw"):
            predicted = 1 if losses_differ and loss == "cw" else 0
            rows += _starts([predicted == 0], attack=attack, loss=loss, predicted=predicted)
    rows[0]["predicted"] = 0
    file = _file("blackbox", rows)
    if categories:
        names = ["clean", "momentum_pgd", "m_di2_fgsm"]
        column = pd.Categorical(file.outcomes["attack"], categories=names)
        file = replace(file, outcomes=file.outcomes.assign(attack=column))
    assert evaluate(file).cells["losses differ at eps 0.1"].tolist() == [[categories, not categories]]


def test_a_worst_case_that_is_unknown_is_an_error() -> None:
    rows = _clean([RIGHT, RIGHT]) + _starts([RIGHT, RIGHT], [RIGHT, SPARED])
    with pytest.raises(
        UserError, match=r"e \(seed 0\) under digits/whitebox: expected every attempt on image 1 at eps"
    ):
        evaluate(_file("whitebox", rows))


@pytest.mark.parametrize("kind", ["whitebox", "whitebox-convergence"])
def test_an_image_without_its_clean_row_is_an_error(kind: str) -> None:
    with pytest.raises(UserError, match=rf"under digits/{kind}: expected a clean row \(eps 0\) for image 1, got none"):
        evaluate(_file(kind, _clean([RIGHT]) + _starts([RIGHT, RIGHT])))


def test_transferability_averages_over_pairs() -> None:
    """Three images, of which two are right everywhere; any start that beats an image counts."""
    rows = _clean([RIGHT, RIGHT, WRONG])
    for source, target, starts in (
        (0, 0, ([WRONG, WRONG], [WRONG, WRONG])),
        (0, 1, ([RIGHT, WRONG], [RIGHT, RIGHT])),
        (0, -1, ([RIGHT, RIGHT], [RIGHT, RIGHT])),
        (1, 0, ([RIGHT, RIGHT], [WRONG, WRONG])),
        (1, 1, ([WRONG, RIGHT], [WRONG, WRONG])),
        (1, -1, ([RIGHT, RIGHT], [WRONG, RIGHT])),
    ):
        rows += _starts(*starts, source_member=source, target_member=target)
    found = evaluate(_file("transferability", rows))
    assert {name: units.mean() for name, units in found.cells.items()} == {
        "clean accuracy": pytest.approx(2 / 3),
        "images every sub-model gets right": pytest.approx(2 / 3),
        "transferability between sub-models at eps 0.1": 3 / 4,
        "transferability onto itself at eps 0.1": 1,
        "transferability onto the ensemble at eps 0.1": 1 / 4,
    }
    assert found.cells["transferability onto the ensemble at eps 0.1"].tolist() == [[False, True], [False, False]]
    assert (found.facts["images"], found.facts["variants"]) == (3, 6)


def test_digest_of_images_tells_which_were_attacked() -> None:
    first = _file("whitebox", _clean([RIGHT, RIGHT]) + _starts([RIGHT, WRONG]))
    other = replace(first, outcomes=first.outcomes.assign(image=first.outcomes["image"] + 1))
    assert evaluate(first).images == evaluate(first).images != evaluate(other).images
    np.testing.assert_array_equal(*(evaluate(file).cells["clean accuracy"] for file in (first, other)))


@pytest.mark.parametrize("repeat", [True, False])
def test_gaps_and_repeats_are_errors(repeat: bool) -> None:
    rows = _clean([RIGHT, RIGHT]) + _starts([RIGHT, RIGHT], source_member=0, target_member=1)
    rows += _starts([RIGHT, RIGHT], source_member=1, target_member=0)
    if repeat:
        rows += _clean([RIGHT])
    else:
        rows.pop()
    with pytest.raises(UserError, match=r"transferability\.parquet: expected every image once under every attempt"):
        evaluate(_file("transferability", rows))


def test_families() -> None:
    assert family("clean accuracy") == family("accuracy at eps 0.1") == "accuracy"
    assert family("images every sub-model gets right") == "accuracy"
    assert family("losses differ at eps 0.1") == "losses"
    assert family("transferability onto itself at eps 0.1") == "transferability"


@pytest.mark.parametrize("kind", ["whitebox", "blackbox", "transfer-folder", "autoattack", "adaptive"])
def test_what_is_wrong_when_clean_is_lost_in_every_accuracy_but_those_of_one_attack_alone(kind: str) -> None:
    rows = _clean([WRONG, RIGHT]) + _starts([RIGHT, RIGHT], loss="cw") + _starts([RIGHT, RIGHT], loss="dlr")
    cells = {name: units[:, 0].tolist() for name, units in evaluate(_file(kind, rows)).cells.items()}
    alone = {name for name in cells if name.startswith("accuracy under")}
    assert len(alone) == (0 if shipped_kinds()[kind].successive else 2)
    lost = {name for name in cells if name.startswith("accuracy")} - alone
    assert len(lost) == (2 if shipped_kinds()[kind].successive else 1)
    assert all(cells[name] == [True, True] for name in alone)
    assert all(cells[name] == [False, True] for name in lost)


@pytest.mark.parametrize("kind", [name for name, facts in shipped_kinds().items() if facts.yields == BY_STEPS])
def test_what_is_wrong_when_clean_is_lost_after_every_number_of_steps(kind: str) -> None:
    rows = _clean([WRONG, RIGHT]) + _starts([RIGHT, RIGHT], steps=50) + _starts([RIGHT, RIGHT], steps=200)
    cells = evaluate(_file(kind, rows)).cells
    for steps in (50, 200):
        assert cells[f"accuracy at eps 0.1 after {steps} steps"].tolist() == [[False], [True]]


@pytest.mark.parametrize("path", sorted(PINS.glob("*.json")), ids=lambda path: path.stem)
def test_no_pinned_worst_case_holds_an_image_that_is_wrong_when_clean(path: Path) -> None:
    """They were pinned when the clean image was no attempt, and are still what it is to survive."""
    compared = 0
    for item in read_pin(path).evaluations:
        for name, cell in item.cells.items():
            if name.startswith("accuracy at eps"):
                for seed in item.seeds:
                    compared += 1
                    assert not (cell.units(seed) & ~item.cells["clean accuracy"].units(seed)).any(), (name, seed)
    assert compared
