"""What differs from the paper, on provenance by hand."""

from __future__ import annotations

from typing import Any

import pytest

from robustbench_ens.reporting.dverge2020.differences import COLUMNS, PAPER, paper_differences
from tests.fake_outcomes import ensemble_record

VARIANTS = [
    {"attack": "momentum_pgd", "losses": ["cross_entropy", "cw"], "restarts": 3},
    {"attack": "sgm", "losses": ["cw"], "restarts": 1},
]


def document(label: str, kind: str, seed: int = 0, images: int = 200, **resolved: Any) -> dict[str, Any]:
    target = ensemble_record(label, seed) | {"dataset": "cifar10-x"}
    target["resolved"] = {"dataset": "cifar10-x", "precision": "bf16"}
    settings = {
        "images": images,
        "steps": 50,
        "eps": [0.01, 0.04],
        "step_size": "eps/5",
        "precision": "fp32",
        "seed": 0,
    } | resolved
    sources = [ensemble_record("s/baseline-3", 1000)] if kind == "blackbox" else [target]
    protocol = {"kind": kind, "label": f"a/{kind}", "name": f"a/{kind}", "version": 1, "resolved": settings}
    return {"protocol": protocol, "target": target, "sources": sources}


def here(*documents: dict[str, Any]) -> dict[str, str]:
    table = paper_differences(documents, "cifar10-x")
    assert list(table.columns) == COLUMNS
    assert list(table["What"]) == [what for what in PAPER if what in set(table["What"])]
    return dict(zip(table["What"], table["Here"], strict=True))


def test_every_row_says_what_was_done() -> None:
    dverge = document("x/dverge-3", "whitebox", seed=1, restarts=5)
    dverge["target"]["resolved"] |= {"init_from": "x/baseline-3", "batch_size": 64}
    dverge["target"]["resolved"] |= {"optimizer": {"nesterov": True, "lr": 0.2}, "hyperparameters": {"layer": "step"}}
    dverge["target"]["resolved"] |= {"schedule": {"name": "one-cycle"}}
    surrogates = [{"recipe": "s/baseline-3", "seed": 1000}] * 2
    assert here(
        document("x/baseline-3", "whitebox", restarts=5),
        dverge,
        document("x/baseline-3", "blackbox", images=100, surrogates=surrogates, variants=VARIANTS, precision="bf16"),
        document("x/baseline-3", "transferability", restarts=2),
    ) == {
        "Training images": "cifar10-x",
        "Attacked images": "100 to 200 test images of cifar10-x",
        "Training": "x/baseline-3: 400 steps of 128, bf16; x/dverge-3: 400 steps of 64 from x/baseline-3, bf16",
        "Optimizer": "x/baseline-3: SGD, momentum 0.9, lr 0.1, times 0.1 at 50% and 75%, weight decay 0.0001; "
        "x/dverge-3: SGD, Nesterov momentum 0.9, one-cycle to lr 0.2, 30% warm-up, cosine, weight decay 0.0001",
        "Distillation": "x/dverge-3: eps 0.07, 10 steps of eps/10, another layer every step",
        "Training seeds": "2",
        "White-box": "eps 0.01 to 0.04, 50 steps of eps/5, random starts: 5; fp32",
        "Transferability": "eps 0.01 to 0.04, 50 steps of eps/5, random starts: 2; fp32",
        "Black-box": "eps 0.01 to 0.04, 50 steps of eps/5, surrogates: 2, variants: 14; bf16",
    }


def test_what_was_not_evaluated_has_no_row() -> None:
    assert "Black-box" not in here(document("x/baseline-3", "whitebox", restarts=5))
    assert here() == {}
    assert here(document("x/trs-3", "whitebox", restarts=5)) == {}
    assert here(document("x/baseline-3", "diversity")) == {}
    assert here(document("x/baseline-3", "whitebox", restarts=5, aggregation="majority_vote")) == {}


def test_imported_ensembles_and_other_training_images_are_told() -> None:
    one = document("x/baseline-3", "whitebox", restarts=5)
    one["target"] |= {"training": None}
    one["target"]["resolved"]["dataset"] = "cifar10-jpeg"
    found = here(one)
    assert found["Training"] == "x/baseline-3: imported"
    assert found["Training images"] == "cifar10-jpeg"


@pytest.mark.parametrize("name", ["dverge", "advt", "dverge-advt"])
def test_nobody_knows_how_imports_were_trained(name: str) -> None:
    one = document(f"x/{name}-3", "whitebox", restarts=5)
    one["target"] |= {"training": None}
    assert here(one).keys() & {"Training", "Optimizer", "Distillation", "Adversarial training"} == {"Training"}


def test_what_adversarial_training_and_distillation_did() -> None:
    both = document("x/dverge-advt-3", "whitebox", restarts=5)
    settings = {"eps": 0.05, "steps": 5, "step_size": 0.02, "layer": 7, "adversarial": {"steps": 2}}
    both["target"]["resolved"] |= {"hyperparameters": settings, "optimizer": {"name": "adam", "lr": 0.001}}
    both["target"]["resolved"] |= {"schedule": {"name": "constant"}}
    advt = document("x/advt-3", "whitebox", restarts=5)
    advt["target"]["resolved"]["hyperparameters"] = {"eps": 0.1, "step_size": 0.05, "steps": 3}
    found = here(both, advt)
    assert found["Distillation"] == "x/dverge-advt-3: eps 0.05, 5 steps of 0.02, layer 7"
    assert found["Adversarial training"] == (
        "x/dverge-advt-3: eps 8/255, 2 steps of 2/255; x/advt-3: eps 0.1, 3 steps of 0.05"
    )
    assert found["Optimizer"].startswith(
        "x/dverge-advt-3: Adam, lr 0.001, weight decay 0.0001; x/advt-3: SGD, momentum 0.9, lr 0.1"
    )
