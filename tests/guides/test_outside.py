"""Each guide followed outside the project: its commands, typed where nothing but `examples/` lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from robustbench_ens import load_ensemble
from tests.conftest import Rbe, Result
from tests.guides.read import MAP, ROOT, guides
from tests.pages import pages_text

GUIDES = guides(MAP.read_text(encoding="utf-8"))

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a copy of the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(rbe: Rbe, name: str) -> list[Result]:
    """Type the commands of a guide; the last but one is `rbe attack`, the last `rbe report`."""
    results = [rbe(*command) for command in GUIDES[name].commands]
    assert [result.code for result in results] == [0] * len(results), results
    assert [command[0] for command in GUIDES[name].commands][-2:] == ["attack", "report"]
    return results


def seen_everywhere(rbe: Rbe, name: str, ensembles: list[str], protocol: str) -> None:
    """Follow a guide and look for what it added in all places that show ensembles, protocols and numbers."""
    attack = next(command for command in GUIDES[name].commands if command[0] == "attack")
    planned = rbe("plan", *attack[1:])
    assert planned.code == 0
    assert all(label in planned.out for label in (*ensembles, protocol)), planned.out
    results = follow(rbe, name)
    assert all(label in results[-2].out for label in ensembles), results[-2].out
    listed = rbe("list")
    assert all(label in listed.out for label in (*ensembles, protocol)), listed.out
    (folder,) = [page.parent for page in Path("runs/reports").glob("*/report.md")]
    for suffix in ("md", "html"):
        text = pages_text(folder, suffix)
        assert all(label in text for label in ensembles), suffix
    pinned = rbe("pin", "baseline.json", "--paired")
    assert pinned.code == 0, pinned.err
    checked = rbe("check", "baseline.json", "--json")
    assert checked.code == 0, checked.out
    assert all(label in checked.out for label in ensembles)
    json.loads(checked.out)


def test_a_recipe(rbe: Rbe) -> None:
    label = "small-dverge[steps=20]"
    seen_everywhere(rbe, "recipe", [label], "digits/quickstart-whitebox")
    assert load_ensemble(f"examples/{label}".replace("[", ".toml["))(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_protocol(rbe: Rbe) -> None:
    seen_everywhere(rbe, "protocol", ["digits/baseline-3", "digits/dverge-3"], "few-steps")


def test_a_training_method(rbe: Rbe) -> None:
    label = "label-noise[steps=20]"
    seen_everywhere(rbe, "training method", [label], "digits/quickstart-whitebox")
    assert load_ensemble(f"examples/{label}".replace("[", ".toml[")).record.method == "examples.label_noise:label_noise"


def test_a_network(rbe: Rbe) -> None:
    label = "shufflenet-dverge[steps=3]"
    seen_everywhere(rbe, "network", [label], "digits/quickstart-whitebox")
    members = load_ensemble(f"examples/{label}".replace("[", ".toml[")).members
    assert {type(member).__name__ for member in members} != {"ResNet"}


def test_a_kind_of_protocol(rbe: Rbe) -> None:
    seen_everywhere(rbe, "kind of protocol", ["digits/baseline-3", "digits/dverge-3"], "noise")
    (folder,) = [page.parent for page in Path("runs/reports").glob("*/report.md")]
    assert "adds uniform noise within eps" in pages_text(folder)


def test_an_attack(rbe: Rbe) -> None:
    """Its name stands in the outcomes, and an edit of its code makes it another protocol."""
    protocol = "digits/quickstart-whitebox[attack=examples.look_ahead:LookAhead"
    seen_everywhere(rbe, "attack", ["digits/baseline-3", "digits/dverge-3"], protocol)


def test_an_aggregation(rbe: Rbe) -> None:
    """Sub-models that are published answer by it, without a training."""
    seen_everywhere(rbe, "aggregation", ["trimmed", "digits/baseline-3"], "digits/quickstart-whitebox")
    assert load_ensemble("examples/trimmed.toml")(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert not Path("runs/ensembles").exists()


def test_a_report_section(rbe: Rbe) -> None:
    seen_everywhere(rbe, "report section", ["digits/baseline-3", "digits/dverge-3"], "digits/quickstart-whitebox")
    (page,) = Path("runs/reports").glob("*/report.md")
    assert "## Robust against clean accuracy" in page.read_text(encoding="utf-8")
    assert 'id="tradeoff"' in page.with_name("index.html").read_text(encoding="utf-8")


def test_an_executor(rbe: Rbe) -> None:
    attacked = follow(rbe, "executor")[-2]
    assert "timed: attack digits/baseline-3#0 under digits/quickstart-whitebox[" in attacked.out + attacked.err
