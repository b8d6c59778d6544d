from __future__ import annotations

import pytest

from robustbench_ens.reporting.cost import training_costs


def record(label, seconds, seed=0, device="cpu", parent=None, network_args=None, **training):
    resolved = {"init_from": parent} if parent else {}
    if network_args:
        resolved["network_args"] = network_args
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
        (  # what it was started from has its overrides, where both must share them
            [record("a", 3600, parent="b", network_args={"width": 4})],
            [
                record("b", 36000),
                record("b[epochs=1,network_args.width=4]", 36000, network_args={"width": 4}),
                record("b[batch_size=8,sub_models=3]", 36000),
                record("b[network_args.width=4]", 1800, network_args={"width": 4}),
            ],
            "1.5 CPU-h",
        ),
        ([record("a", 3600, parent="b", network_args={"width": 4})], [record("b", 1800)], "≥ 1 CPU-h"),
        ([record("a", 3600, parent="b", device="cuda")], [record("b", 1800)], "1 GPU-h + 0.5 CPU-h"),
        ([record("a", 3600, parent="b")], [record("b", None)], "≥ 1 CPU-h"),
        ([record("a", 3600, parent="a")], [], "≥ 1 CPU-h"),
        ([record("a", None)], [], "unknown"),
    ],
)
def test_hours(targets, others, said):
    assert str(training_costs(targets, others)["a"]) == said
