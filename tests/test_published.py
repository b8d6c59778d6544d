"""Published weights: put into the zoo with a card, and used where nothing was trained here."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robustbench_ens
from robustbench_ens.cli import main
from robustbench_ens.core.store import write_json
from robustbench_ens.data import load_dataset, to_float
from robustbench_ens.outcomes import find_outcomes, read_outcomes, write_outcomes
from robustbench_ens.weights.record import WEIGHTS, read_record
from tests.conftest import Rbe
from tests.sealing import edit_json
from tests.shared import made_once

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent

TINY = """
extends = "digits/baseline-3"
steps = 40
[network_args]
width = 2
"""
PROTOCOL = "digits/whitebox[images=20,eps=[0.1],steps=2,restarts=1,health.images=5]"
BLACKBOX = """
extends = "digits/blackbox"
images = 20
eps = [0.1]
steps = 2
surrogates = [{recipe = "own/tiny", seed = 1}]
variants = [{attack = "sgm", losses = ["cw"]}]
"""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``checkout`` is a copy of, made once."""

    def make(folder: Path) -> None:
        (folder / "zoo" / "own").mkdir(parents=True)
        (folder / "zoo" / "own" / "tiny.toml").write_text(TINY)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for arguments in (["attack", PROTOCOL, "own/tiny"], ["publish", "own/tiny"]):
                with pytest.raises(SystemExit) as end:
                    main(arguments)
                assert end.value.code == 0
            shutil.move("runs", "trained")

    return made_once(tmp_path_factory, "published", make)


@pytest.fixture
def checkout(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a recipe of its own, its ensemble trained, attacked and published; no runs any more."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_publishing_says_where_and_what_the_card_knows(checkout: Path, rbe: Rbe) -> None:
    result = rbe("publish", "own/tiny", "--runs", "trained")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("own/tiny#0: published in zoo/weights/own/tiny/seed-0; evaluations in its card: 1\n")


def test_published_weights_are_attacked_without_training(checkout: Path, rbe: Rbe) -> None:
    result = rbe("attack", PROTOCOL, "own/tiny", "--dry-run")
    assert " published " in result.out and "1 of 2 steps due: about " in result.out
    assert not Path("runs").exists()
    result = rbe("attack", PROTOCOL, "own/tiny")
    assert result.code == 0
    assert "own/tiny#0: published weights, from zoo/weights/own/tiny/seed-0" in (result.out + result.err).replace(
        f"{checkout}/", ""
    )
    assert "train " not in result.out and not list(Path("runs").rglob("weights.safetensors"))
    ours, theirs = (find_outcomes([Path(root, "outcomes")]) for root in ("runs", "trained"))
    assert [path.relative_to("runs") for path in ours] == [path.relative_to("trained") for path in theirs]


def test_they_load_export_and_are_listed(checkout: Path, rbe: Rbe) -> None:
    ensemble = robustbench_ens.load_ensemble("own/tiny")
    trained = robustbench_ens.load_ensemble("own/tiny", runs="trained")
    images = to_float(load_dataset("digits").x_test[:9])
    assert torch.equal(ensemble(images), trained(images))
    assert rbe("export-checkpoint", "own/tiny", "x.pth").code == 0
    (line,) = [line.split() for line in rbe("list").out.splitlines() if line.startswith(" own/tiny ")]
    assert line[5:] == ["-", "seeds", "0"]


def test_another_seed_or_recipe_is_trained(checkout: Path, rbe: Rbe) -> None:
    for names in (["own/tiny", "--seeds", 1], ["own/tiny[steps=41]"]):
        assert "train own/tiny" in rbe("attack", PROTOCOL, *names, "--dry-run").out
        assert "2 of 2 steps due" in rbe("attack", PROTOCOL, *names, "--dry-run").out
    Path("zoo/own/tiny.toml").write_text(TINY.replace("40", "42"))
    assert "2 of 2 steps due" in rbe("attack", PROTOCOL, "own/tiny", "--dry-run").out


def test_training_and_what_was_trained_here_come_first(checkout: Path, rbe: Rbe) -> None:
    assert "1 of 1 steps due: about " in rbe("train", "own/tiny", "--dry-run").out  # as long as it took before
    assert rbe("train", "own/tiny").code == 0
    result = rbe("attack", PROTOCOL, "own/tiny")
    assert result.code == 0 and "published weights" not in result.out + result.err


@pytest.fixture
def child(checkout: Path) -> str:
    """A recipe that starts from the published one."""
    (checkout / "zoo/own/child.toml").write_text('extends = "own/tiny"\ninit_from = "own/tiny"\nsteps = 3\n')
    return "own/child"


@pytest.mark.parametrize("arguments", [["train"], ["attack", PROTOCOL]], ids=["train", "attack"])
def test_training_starts_from_published_weights(child: str, rbe: Rbe, arguments: list[str]) -> None:
    assert f"{len(arguments)} of {len(arguments) + 1} steps due" in rbe(*arguments, child, "--dry-run").out
    result = rbe(*arguments, child)
    assert (result.code, result.err) == (0, "")
    assert "own/tiny#0: published weights, from" in result.out
    assert not list(Path("runs/ensembles").rglob("tiny*"))
    for again in (rbe(*arguments, child, "--dry-run"), rbe("plan", child)):
        assert "0 of " in again.out
    (line,) = [line.split() for line in rbe("list").out.splitlines() if line.startswith(" own/child ")]
    assert line[5:] == ["seeds", "0", "-"]


def test_what_was_started_from_published_weights_stands_beside_a_parent_trained_later(child: str, rbe: Rbe) -> None:
    assert rbe("train", child).code == 0
    for command in (["train", "own/tiny[steps=41]"], ["export-checkpoint", "own/tiny[steps=41]", "x.pth"]):
        assert rbe(*command).code == 0
    assert rbe("import-checkpoint", "x.pth", "own/tiny").code == 0  # other weights than the published ones
    assert "0 of 2 steps due" in rbe("train", child, "--dry-run").out
    shutil.rmtree(next(Path("runs").rglob("child-*")))
    assert "1 of 2 steps due" in rbe("train", child, "--dry-run").out
    result = rbe("train", child)
    assert result.code == 0 and "published weights" not in result.out


def test_damaged_weights_to_start_from_are_one_line(child: str, rbe: Rbe) -> None:
    path = Path("zoo/weights/own/tiny/seed-0") / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])
    result = rbe("train", "digits/baseline-3[steps=4,network_args.width=2]", child)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "expected a safetensors file, got a missing or truncated one" in result.err
    assert not Path("runs/ensembles").exists()


def test_a_protocol_alone_attacks_nothing_that_was_not_trained_here(checkout: Path, rbe: Rbe) -> None:
    result = rbe("attack", PROTOCOL)
    assert result.code == 2 and "no recipe given, and none for dataset 'digits' is trained" in result.err


def test_the_card_says_what_it_is_and_what_was_measured(checkout: Path) -> None:
    folder = Path("zoo/weights/own/tiny/seed-0")
    card, record = (folder / "README.md").read_text(), read_record(folder)
    assert record is not None and record.training is not None
    lines = card.splitlines()
    assert lines[0] == "# own/tiny, seed 0"
    for text in (record.recipe_hash, record.weights[:16], f"{record.parameters:,}", record.training["finished_at"]):
        assert text in card
    assert 'load_ensemble("own/tiny", seed=0)' in card
    assert f"{100 * record.training['clean_accuracy']['-1']:.1f}% on the whole test split" in card
    for row in (
        "| Training | 40 steps of 64, fp32 |",
        "| Optimizer | SGD, momentum 0.9, one-cycle to lr 0.1, 30% warm-up, cosine, weight decay 0.0005 |",
        "| 20 of digits | eps 0.1, 2 steps of eps/5, random starts: 1; fp32 |",
    ):
        assert any(line.endswith(row) for line in lines)
    (row,) = [line for line in lines if line.startswith("| own/tiny |")]
    assert "20" in row and "0.1" in row
    assert "## Attack health" in card and "healthy" in card


def test_what_was_trained_before_the_recipe_said_so_is_published_by_its_name(checkout: Path, rbe: Rbe) -> None:
    assert rbe("train", "own/tiny[steps=30]").code == 0
    Path("zoo/own/tiny.toml").write_text(TINY.replace("40", "30"))
    result = rbe("publish", "own/tiny")
    assert (result.code, result.err) == (0, "")
    folder = Path("zoo/weights/own/tiny/seed-0")
    assert json.loads((folder / "run.json").read_text())["id"] == "own/tiny#0"
    assert "[" not in (folder / "README.md").read_text().splitlines()[0]
    assert robustbench_ens.load_ensemble("own/tiny") is not None


def test_what_cannot_be_published(checkout: Path, rbe: Rbe) -> None:
    for arguments, says in (
        (["own/tiny", "--seed", 3], "own/tiny seed 3: expected it trained in runs; run `rbe train`"),
        (["own/tiny[steps=41]"], "expected one of the folder zoo/, unchanged, to publish weights of"),
        (["digits/baseline-3"], "expected one of the folder zoo/, unchanged, to publish weights of"),
    ):
        result = rbe("publish", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert says in result.err


def test_publishing_again_replaces_all_or_nothing(checkout: Path, rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("zoo/weights/own/tiny/seed-0")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert rbe("train", "own/tiny").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("robustbench_ens.weights.published.read_bytes", fail)
        assert rbe("publish", "own/tiny").code == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    next(Path("runs").rglob("history.csv")).unlink()
    assert rbe("publish", "own/tiny").code == 0
    assert {path.name for path in folder.iterdir()} == set(before) - {"history.csv"}
    assert [path.name for path in folder.parent.iterdir()] == ["seed-0"]


def test_another_seed_is_published_beside_it_and_serves_as_surrogate(checkout: Path, rbe: Rbe) -> None:
    assert rbe("train", "own/tiny", "--seeds", 1).code == 0
    assert rbe("publish", "own/tiny", "--seed", 1).code == 0
    assert sorted(path.name for path in Path("zoo/weights/own/tiny").iterdir()) == ["seed-0", "seed-1"]
    shutil.rmtree("runs")
    protocol = Path("blackbox.toml")
    protocol.write_text(BLACKBOX)
    result = rbe("attack", protocol, "own/tiny")
    assert (result.code, result.err) == (0, "")
    for seed in (0, 1):
        assert f"own/tiny#{seed}: published weights" in result.out
    assert "train " not in result.out


def fail(*paths: Path) -> None:
    raise OSError(28, "No space left on device", str(paths[-1]))


def test_another_file_of_the_same_name_is_not_the_zoos(checkout: Path, rbe: Rbe) -> None:
    other = Path("elsewhere/zoo/own/tiny.toml")
    other.parent.mkdir(parents=True)
    other.write_text(TINY.replace("40", "41"))
    assert rbe("train", other).code == 0
    result = rbe("publish", other)
    assert result.code == 2 and "expected one of the folder zoo/, unchanged" in result.err
    # Nor are they one ensemble where both are attacked.
    result = rbe("attack", PROTOCOL, "own/tiny", other)
    assert (result.code, result.err) == (0, "")
    assert len(find_outcomes([Path("runs/outcomes")])) == 2


def test_damaged_outcomes_give_no_card(checkout: Path, rbe: Rbe) -> None:
    shutil.move("trained", "runs")
    path = find_outcomes([Path("runs/outcomes")])[0]
    file = read_outcomes(path)
    lacking = {key: value for key, value in file.provenance.items() if key != "protocol"}
    write_outcomes(path, file.outcomes, file.measurements, lacking)
    result = rbe("publish", "own/tiny")
    assert (result.code, result.err.count("\n")) == (2, 1) and str(path) in result.err


def test_damaged_published_weights_are_one_line(checkout: Path, rbe: Rbe) -> None:
    path = Path("zoo/weights/own/tiny/seed-0") / WEIGHTS
    whole = path.read_bytes()
    for damaged, says in (
        (whole[:-8], "expected a safetensors file, got a missing or truncated one"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "expected the weights described by run.json"),
    ):
        path.write_bytes(damaged)
        result = rbe("attack", PROTOCOL, "digits/baseline-3[steps=4,network_args.width=2]", "own/tiny")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert says in result.err
        assert not Path("runs/ensembles").exists()  # nothing was trained before it was noticed


@pytest.fixture
def own_images(checkout: Path, rbe: Rbe, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The images, in an own file, behind a recipe whose weights are published and pinned; no runs any more."""
    digits = load_dataset("digits")
    file = checkout / "data" / "small.npz"
    file.parent.mkdir()
    arrays = {
        f"{axis}_{split}": getattr(digits, f"{axis}_{split}").numpy() for axis in "xy" for split in ("train", "test")
    }
    np.savez(file, **arrays)
    monkeypatch.setenv("RBE_DATA", str(file.parent))
    (checkout / "zoo/own/small.toml").write_text('extends = "own/tiny"\ndataset = "small"\n')
    assert rbe("attack", f"{PROTOCOL[:-1]},dataset=small]", "own/small", "--runs", "made").code == 0
    assert rbe("publish", "own/small", "--runs", "made").code == 0
    assert rbe("pin", "pin.json", "--paired", "--runs", "made").code == 0
    return file


def test_what_a_paired_baseline_pins_is_attacked_again(own_images: Path, rbe: Rbe) -> None:
    result = rbe("check", "pin.json", "--attack")
    assert (result.code, result.err) == (0, "")
    assert "own/small#0: published weights" in result.out and "Nothing moved." in result.out
    assert len(find_outcomes([Path("runs")])) == 1

    def lose_all(pin: dict[str, Any]) -> None:
        cell = next(cell for name, cell in pin["evaluations"][0]["cells"].items() if name.startswith("accuracy"))
        cell["bits"]["0"], cell["count"]["0"] = base64.b64encode(bytes(3)).decode(), 0

    edit_json(Path("pin.json"), lose_all)
    assert rbe("check", "pin.json", "--attack").code == 1


def test_without_the_images_nothing_is_checked_and_it_says_so(own_images: Path, rbe: Rbe) -> None:
    own_images.unlink()
    result = rbe("check", "pin.json", "--attack")
    assert (result.code, result.err.count("\n")) == (2, 1) and "unknown dataset 'small'" in result.err
    result = rbe("check", "pin.json", "--attack", "--skip-missing-data")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Skipped: pin.json was not checked, for its images are not here: unknown dataset")


def test_what_cannot_be_attacked_again(own_images: Path, rbe: Rbe) -> None:
    shutil.rmtree("zoo/weights")
    seeds = "reports/regression/digits-quickstart.json"
    for arguments, says in (
        (["pin.json", "--attack"], "expected the pinned weights of own/small#0, got none in runs and among the publ"),
        (["pin.json", "made", "--attack"], "--attack: expected no OUTCOMES beside it"),
        (["pin.json", "--attack", "--update"], "--attack: expected no --update beside it"),
        (["pin.json", "--skip-missing-data"], "--skip-missing-data: expected --attack beside it"),
        (["pin.json", "--attack", "--skip-missing-data", "--json"], "expected no --output and no --format but text"),
        ([ROOT / seeds, "--attack"], "--attack: expected a paired baseline, of certain weights, got one of training"),
    ):
        result = rbe("check", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert says in result.err


def test_other_weights_are_not_taken_for_the_pinned_ones(own_images: Path, rbe: Rbe) -> None:
    text = Path("pin.json").read_text()
    (seed,) = json.loads(text)["evaluations"][0]["seeds"].values()
    write_json(Path("pin.json"), json.loads(text.replace(seed["weights"], "0" * 64)))
    result = rbe("check", "pin.json", "--attack")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "expected the pinned weights of own/small#0, got others in runs" in result.err
    write_json(Path("pin.json"), json.loads(text.replace("own/small", "elsewhere")))
    result = rbe("check", "pin.json", "--attack")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "pin.json: --attack: " in result.err and "run `rbe attack` by hand" in result.err


def test_the_list_needs_no_images(own_images: Path, rbe: Rbe) -> None:
    own_images.unlink()
    result = rbe("list", "--runs", "made")
    assert (result.code, result.err) == (0, "")
    (line,) = [line.split() for line in result.out.splitlines() if line.startswith(" own/small ")]
    assert line[5:] == ["seeds", "0", "seeds", "0"]


def test_weights_of_other_images_do_not_serve(own_images: Path, rbe: Rbe) -> None:
    """As the images are, published weights serve; with one image changed all is trained here."""
    (Path("zoo/own") / "child.toml").write_text('extends = "own/small"\ninit_from = "own/small"\nsteps = 3\n')
    attack = ["attack", f"{PROTOCOL[:-1]},dataset=small]", "own/child"]
    assert "2 of 3 steps due" in rbe(*attack, "--dry-run").out
    with np.load(own_images) as arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
    changed["x_train"][0] = 0
    np.savez(own_images, **changed)
    assert "3 of 3 steps due" in rbe(*attack, "--dry-run").out
    result = rbe(*attack)
    assert (result.code, result.err) == (0, "")
    said = "own/small#0: trained here, for the published weights are of other images than 'small' has"
    assert " ".join(result.out.split()).count(said) == 1 and "published weights, from" not in result.out


def test_what_is_printed_as_json_is_json_alone(own_images: Path, rbe: Rbe) -> None:
    result = rbe("check", "pin.json", "--attack", "--json")
    assert result.code == 0 and json.loads(result.out)["moved"] is False


def test_what_was_trained_on_other_images_gives_way_to_published_weights_with_a_word(
    own_images: Path, rbe: Rbe
) -> None:
    """As long as they suit; and what matches comes first."""
    protocol = f"{PROTOCOL[:-1]},dataset=small]"
    original = own_images.read_bytes()
    arrays = dict(np.load(own_images))
    np.savez(own_images, **(arrays | {"x_train": arrays["x_train"] // 2}))
    result = rbe("attack", protocol, "own/small")
    assert "trained here, for the published weights are of other images" in result.out
    assert (result.code, robustbench_ens.load_ensemble("own/small").origin.kind) == (0, "trained here")
    own_images.write_bytes(original)
    result = rbe("attack", protocol, "own/small")
    assert result.code == 0
    assert "own/small#0: published weights, from" in result.out
    assert "is of other images, or started from other weights" in result.out
    with pytest.warns(UserWarning, match="is of other images, or started from other weights"):
        assert robustbench_ens.load_ensemble("own/small").origin.kind == "published"
