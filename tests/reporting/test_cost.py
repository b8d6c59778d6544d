from __future__ import annotations

import pytest

from robustbench_ens.reporting.cost import training_costs


def record(label, seconds, seed=0, device="cpu", parent=None, **training):
    resolved = {"init_from": parent} if parent else {}
    facts = {"device": device, "wall_time_s": seconds, **training}
    return {"label": label, "seed": seed, "resolved": resolved, "training": facts if seconds else None}


@pytest.mark.parametrize(
    ("targets", "others", "said"),
    [
        ([record("a", 3600)], [], "1 CPU-h"),
        ([record("a", 3600, threads=4)], [], "4 CPU-h"),
        ([record("a", 3600, device="cuda", threads=4)], [], "1 GPU-h"),
        ([record("a", 3600), record("a", 7200, seed=1)], [], "1.5 CPU-h"),
        ([record("a", 3600, parent="b")], [record("b", 1800)], "1.5 CPU-h"),
        ([record("a", 3600, parent="b")], [record("b", 1800, seed=1000)], "≥ 1 CPU-h"),
        ([record("a", 3600, parent="b", device="cuda")], [record("b", 1800)], "1 GPU-h + 0.5 CPU-h"),
        ([record("a", 3600, parent="b")], [record("b", None)], "≥ 1 CPU-h"),
        ([record("a", 3600, parent="a")], [], "≥ 1 CPU-h"),
        ([record("a", None)], [], "unknown"),
    ],
)
def test_hours(targets, others, said):
    assert str(training_costs(targets, others)["a"]) == said
