"""Times are kept for plans: of groups of parts, without what other targets share, and of crafting on surrogates."""

from __future__ import annotations

import shutil
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation import parts
from robustbench_ens.evaluation.crafted_images import Cost, read_costs, save_crafted
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.evaluation.partition import Group, seconds_by_group
from robustbench_ens.evaluation.record import Past, past_evaluations
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import read_provenance

VARIANTS = '[{attack="momentum_pgd",losses=["cross_entropy","cw"]}]'


@pytest.fixture
def clock(monkeypatch):
    """A clock that every look at it moves on by a second."""
    seconds = count()
    ticking = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(parts, "time", ticking)
    monkeypatch.setattr(blackbox, "time", ticking)


@pytest.mark.parametrize("kind", ["blackbox", "blackbox-convergence"])
def test_groups_keep_their_seconds_without_shared_images(kind, clock, trained, digits, tmp_path):
    """A part looks at the clock twice, and twice in between where it crafts: 3 seconds, of which 1 is shared."""
    ladder = "steps=[1,2],eps=[0.1]" if kind.endswith("convergence") else "steps=1,eps=[0.1,0.2]"
    surrogates = '[{recipe="digits/baseline-3[network_args.width=4,epochs=4]",seed=1000}]'
    protocol = load_protocol(f"digits/{kind}[images=5,{ladder},variants={VARIANTS},surrogates={surrogates}]")
    store = Store(tmp_path)
    path = evaluate(protocol, trained[0], [trained[1000]], digits, store)
    kept = read_provenance(path)
    assert kept["wall_time_s"] == 12.0
    assert list(kept["groups"].values()) == [4.0, 4.0]
    (past,) = past_evaluations(store)
    assert past == Past(protocol.hash, trained[0].record.recipe_hash, 12.0, kept["groups"], "cpu")

    costs = list(read_costs(store))
    gradients = [5, 5, 10, 10] if kind.endswith("convergence") else [5, 5, 5, 5]
    assert sorted(cost.gradients for cost in costs) == gradients
    assert {(cost.recipe_hash, cost.attack, cost.seconds) for cost in costs} == {
        (trained[1000].record.recipe_hash, "momentum_pgd", 1.0)
    }

    path.unlink()
    again = read_provenance(evaluate(protocol, trained[0], [trained[1000]], digits, store))
    assert list(again["groups"].values()) == [2.0, 2.0]
    assert len(list(read_costs(store))) == 4


def test_a_part_that_was_kept_keeps_what_it_shared(clock, trained, digits, tmp_path, monkeypatch):
    surrogates = '[{recipe="digits/baseline-3[network_args.width=4,epochs=4]",seed=1000}]'
    protocol = load_protocol(f"digits/blackbox[images=5,steps=1,eps=[0.1],variants={VARIANTS},surrogates={surrogates}]")
    arguments = (protocol, trained[0], [trained[1000]], digits, Store(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        path = evaluate(*arguments)
    path.unlink()
    kept = read_provenance(evaluate(*arguments))
    assert kept["wall_time_s"] == 6.0
    assert list(kept["groups"].values()) == [4.0]


def test_files_that_do_not_state_their_cost_are_skipped(tmp_path):
    images = torch.zeros(2, 1, 3, 3)
    cost = Cost("0123456789", "pgd", 20, 1.5, "cpu")
    folder = tmp_path / "adversarial" / "aa" / "eps-0.1"
    save_crafted(folder / "a.safetensors", images, images, 0.1, (), cost)
    save_crafted(folder / "b.safetensors", images, images, 0.1)
    (folder / "c.safetensors").write_bytes(b"damaged")
    assert list(read_costs(Store(tmp_path))) == [cost]
    assert list(read_costs(Store(tmp_path / "empty"))) == []


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"recipe_hash": "a", "attack": "pgd", "gradients": 1, "seconds": "1", "device": "cpu"}']
)
def test_a_cost_of_another_form_is_skipped(text, tmp_path, monkeypatch):
    images = torch.zeros(1, 1, 3, 3)
    monkeypatch.setattr("robustbench_ens.evaluation.crafted_images.asdict", lambda cost: None)
    monkeypatch.setattr("robustbench_ens.evaluation.crafted_images.json.dumps", lambda value: text)
    save_crafted(tmp_path / "adversarial" / "a.safetensors", images, images, 0.1, (), Cost("a", "pgd", 1, 1.0, "cpu"))
    assert list(read_costs(Store(tmp_path))) == []


def test_a_group_takes_what_its_parts_take():
    groups = [Group(("a", "b"), 1.0, name="both"), Group(("c",), 1.0)]
    assert seconds_by_group(groups, {"a": 1.0, "b": 2.0, "c": 4.0}) == {"both": 3.0, "c": 4.0}
