"""What was made by code from outside is made again when the code is edited, and one line says what changed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_ens import load_ensemble
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store, write_json
from robustbench_ens.data import load_dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import parts
from robustbench_ens.evaluation import runner as evaluation
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.parts import Finished
from robustbench_ens.outcomes import find_outcomes, read_evaluations, read_provenance
from robustbench_ens.reporting.collect import with_distinct_labels
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.weights.record import RECORD, read_record
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from tests.conftest import WHITEBOX, Rbe

METHOD = """
import torch
from torch.nn import functional as F
from my_parts.weights import WEIGHT

def loss(ensemble, batch, context):
    (member,) = ensemble.members
    return {"loss": WEIGHT * F.cross_entropy(member(batch.images), batch.labels)}
"""
NETWORK = """
from torch import nn

def build(channels, classes):
    from my_parts.layers import Scaled
    return nn.Sequential(Scaled(), nn.Flatten(), nn.Linear(64, classes))
"""
LAYERS = """
from torch import nn

class Scaled(nn.Module):
    def forward(self, x):
        return 2 * x
"""
RECIPE = """
dataset = "digits"
sub_models = 1
method = "my_method:loss"
network = "my_network:build"
steps = 2
batch_size = 32
augmentation = "none"
"""
MODEL = """
import os
from torch import nn
from my_parts.layers import Scaled

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.scaled = Scaled()

    def forward(self, x):
        masked = x.detach() + float(os.environ.get("GRADIENT", "1")) * (x - x.detach())
        return self.parts(self.scaled(masked))

net = lambda: Net().eval()
"""


def forget() -> None:
    """Drop the user's modules, as where another process starts."""
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("my_")]:
        del sys.modules[name]


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    # Of another length: Python takes a file of the same length and second for unchanged.
    Path(path).write_text(text.replace(old, new) + "\n# edited\n")
    forget()


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my_parts").mkdir()
    for path, text in {
        "my_method.py": METHOD,
        "my_network.py": NETWORK,
        "my_parts/__init__.py": "",
        "my_parts/weights.py": "WEIGHT = 1.0\n",
        "my_parts/layers.py": LAYERS,
        "my_model.py": MODEL,
        "mine.toml": RECIPE,
        "child.toml": RECIPE.replace("my_method:loss", "baseline") + 'init_from = "mine.toml"\n',
        "plain.toml": RECIPE.replace("my_method:loss", "baseline").replace("my_network:build", "resnet8"),
    }.items():
        Path(path).write_text(text)
    forget()
    yield tmp_path
    forget()


EDITS = {
    "its own": ("my_method.py", "WEIGHT *", "2 * WEIGHT *"),
    "what it imports": ("my_parts/weights.py", "1.0", "2.0"),
    "the network's": ("my_network.py", "nn.Flatten()", "nn.Flatten(1)"),
    "what the network imports in a function": ("my_parts/layers.py", "2 * x", "3 * x"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["its own", "what the network imports in a function"])
def test_an_edited_method_or_network_trains_again(rbe: Rbe, name: str) -> None:
    assert rbe("attack", WHITEBOX, "mine.toml").code == 0
    assert "0 of 2 steps due" in rbe("attack", WHITEBOX, "mine.toml", "--dry-run").out
    (older,) = Path("runs/ensembles").glob("mine-*/seed-0")
    path, old, new = EDITS[name]
    edit(path, old, new)
    why = f"mine#0: source of {path} changed since it was trained on "
    plan = rbe("attack", WHITEBOX, "mine.toml", "--dry-run").out
    assert "2 of 2 steps due" in plan
    assert plan.count(why) == 1
    assert f"({older}); due again" in " ".join(plan.split())
    result = rbe("attack", WHITEBOX, "mine.toml")
    assert (result.code, result.err) == (0, "")
    assert result.out.count(why) == 1
    assert "training again, the older run stays" in result.out
    assert read_record(older) is not None
    assert len(list(Path("runs/ensembles").glob("mine-*/seed-0"))) == 2
    assert len(find_outcomes([Path("runs/outcomes")])) == 2
    assert "0 of 2 steps due" in rbe("attack", WHITEBOX, "mine.toml", "--dry-run").out
    edit(path, new, old)
    Path(path).write_text(Path(path).read_text().replace("\n# edited\n", ""))
    assert "0 of 2 steps due" in rbe("attack", WHITEBOX, "mine.toml", "--dry-run").out


def test_recipes_of_this_project_have_no_code() -> None:
    recipe = load_recipe("plain.toml")
    assert recipe.code == {}
    assert load_recipe("plain.toml[method=robustbench_ens.training.baseline:Baseline]").code == {}


def hashes() -> dict[str, str]:
    forget()
    return {name: load_recipe(f"{name}.toml").hash for name in ("mine", "child", "plain")}


@pytest.mark.parametrize("name", EDITS)
def test_the_hash_covers_the_code_and_that_of_the_parent(name: str) -> None:
    before = hashes()
    assert hashes() == before
    edit(*EDITS[name])
    changed = {recipe for recipe, digits in hashes().items() if digits != before[recipe]}
    assert changed == {"mine", "child"}


def trained(name: str = "mine") -> tuple[Plan, TrainingRun]:
    place = Workplace(Store(Path("runs")), None, "cpu", Silent())
    plan, ensemble = Plan(place), TrainingRun(load_recipe(f"{name}.toml"), 0)
    plan.add_training(ensemble)
    return plan, ensemble


def test_an_unfinished_training_is_not_resumed_by_other_code(rbe: Rbe) -> None:
    assert rbe("train", "mine.toml").code == 0
    (folder,) = Path("runs/ensembles").glob("mine-*/seed-0")
    (folder / RESUME).write_text("of the code before")
    (folder / RECORD).unlink()
    edit(*EDITS["what it imports"])
    plan, _ = trained()
    assert [step.why for step in plan.steps] == [None]
    assert rbe("train", "mine.toml").code == 0
    assert (folder / RESUME).read_text() == "of the code before"


def test_a_child_says_that_its_parent_changed(rbe: Rbe) -> None:
    assert rbe("train", "child.toml").code == 0
    edit(*EDITS["what it imports"])
    parent, child = trained("child")[0].steps
    assert parent.why is not None and "source of my_parts/weights.py changed since it was trained on" in parent.why
    assert child.why is not None and "child#0: what it starts from changed since it was trained on" in child.why


def test_a_record_of_an_earlier_version_says_so(rbe: Rbe) -> None:
    assert rbe("train", "mine.toml").code == 0
    (folder,) = Path("runs/ensembles").glob("mine-*/seed-0")
    content = json.loads((folder / RECORD).read_text())
    del content["code"], content["digest"]
    older = folder.parent.with_name("mine-0123456789") / "seed-0"
    write_json(older / RECORD, content | {"recipe_hash": "0123456789"})
    shutil.rmtree(folder)
    (step,) = trained()[0].steps
    assert step.why is not None and "by an earlier version, which did not record its code (" in step.why


def test_damaged_older_runs_are_passed_over(rbe: Rbe) -> None:
    assert rbe("train", "mine.toml").code == 0
    (folder,) = Path("runs/ensembles").glob("mine-*/seed-0")
    (folder / RECORD).write_text("{")
    edit(*EDITS["its own"])
    (step,) = trained()[0].steps
    assert step.why is None


def test_loading_an_ensemble_whose_code_was_edited_says_so(rbe: Rbe) -> None:
    assert rbe("train", "mine.toml").code == 0
    load_ensemble("mine.toml")
    edit(*EDITS["the network's"])
    with pytest.raises(UserError) as error:
        load_ensemble("mine.toml")
    why = "no trained ensemble here: mine#0: source of my_network.py changed since it was trained on "
    assert why in str(error.value)
    assert str(error.value).endswith("; run `rbe train mine`")


MODEL_EDITS = {
    "what it imports": ("my_parts/layers.py", "return 2 * x", "return x + x"),
    "a comment": ("my_parts/__init__.py", "", "# nothing"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_EDITS)
def test_an_edited_model_is_attacked_again(rbe: Rbe, name: str) -> None:
    """Weights and scores stay the same."""
    command = ("attack", WHITEBOX, "--model", "my_model:net")
    assert rbe(*command).code == 0
    forget()
    assert "0 of 1 steps due" in rbe(*command, "--dry-run").out
    path, old, new = MODEL_EDITS[name]
    edit(path, old, new)
    why = f"my_model:net: source of {path} changed since the outcomes of "
    plan = rbe(*command, "--dry-run").out
    assert "1 of 1 steps due" in plan
    assert plan.count(why) == 1
    result = rbe(*command)
    assert result.code == 0
    assert result.out.count(why) == 1
    assert "were made; attacking again" in result.out
    assert "0 of 1 steps due" in rbe(*command, "--dry-run").out
    files = with_distinct_labels(read_evaluations(find_outcomes([Path("runs/outcomes")])))
    labels = {file.provenance["target"]["label"] for file in files}
    assert len(labels) == 2 and all(label.startswith("my_model:net (recipe ") for label in labels)


@pytest.mark.slow
def test_a_gradient_that_changes_with_no_line_of_source(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("attack", WHITEBOX, "--model", "my_model:net")
    assert rbe(*command).code == 0
    (path,) = find_outcomes([Path("runs/outcomes")])
    before = read_provenance(path)
    monkeypatch.setenv("GRADIENT", "0.5")
    why = "my_model:net: its gradients at the same images changed since the outcomes of "
    assert why in rbe(*command, "--dry-run").out
    assert why in rbe(*command).out
    assert find_outcomes([Path("runs/outcomes")]) == [path]
    after = read_provenance(path)
    assert before["inputs"] == after["inputs"]
    assert before["target"]["probe"]["scores"] == after["target"]["probe"]["scores"]
    assert before["target"]["probe"]["gradients"] != after["target"]["probe"]["gradients"]
    assert "0 of 1 steps due" in rbe(*command, "--dry-run").out


@pytest.mark.slow
def test_a_part_of_another_gradient_is_not_kept(rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack is interrupted after its first part, and the environment changes."""
    command = ("attack", f"{WHITEBOX[:-1]},eps=[0.1,0.2]]", "--model", "my_model:net")
    original, made = parts.compute_part, list[Path]()

    def one_part(job: Job, path: Path, digest: str, compute: Callable[[], pd.DataFrame]) -> Finished:
        if made:
            raise KeyboardInterrupt
        made.append(path)
        return original(job, path, digest, compute)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(parts, "compute_part", one_part)
        assert rbe(*command).code == 130
    (part,) = made
    before = read_provenance(part)
    monkeypatch.setattr(evaluation.shutil, "rmtree", lambda *arguments, **options: None)
    monkeypatch.setenv("GRADIENT", "0.5")
    assert rbe(*command).code == 0
    assert read_provenance(part)["probe"]["gradients"] != before["probe"]["gradients"]


@pytest.mark.slow
def test_test_images_alone_serve_for_a_model_and_for_no_training(rbe: Rbe, tmp_path: Path) -> None:
    digits = load_dataset("digits")
    np.savez("alone.npz", x_test=digits.x_test[:40].numpy(), y_test=digits.y_test[:40].numpy())
    on = ("--set", "dataset=alone.npz")
    assert rbe("attack", WHITEBOX, "--model", "my_model:net", *on).code == 0
    for command in (("train", "plain.toml"), ("attack", WHITEBOX, "plain.toml[dataset=alone.npz]")):
        result = rbe(*command, *on)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "key 'dataset': dataset 'alone': expected training images, got test images alone; add a" in result.err
        assert not list(Path("runs/ensembles").rglob("*"))
