"""The commands as a person meets them: what they print, what they leave, and that they go on where they stopped."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from robustbench_ens.cli import console
from robustbench_ens.config.lookup import names
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.outcomes import find_outcomes, read_outcomes, write_outcomes
from robustbench_ens.training.checkpoint import RESUME
from robustbench_ens.training.trainer import Training
from robustbench_ens.weights.published import published
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.trained import load_trained
from robustbench_ens.workflow import steps
from tests.conftest import BASELINE, BLACKBOX, DVERGE, WHITEBOX, Rbe


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Ctrl-C, when ``owner.name`` is called for the ``call``-th time."""
    real, calls = getattr(owner, name), []

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, interrupted)


def rows(runs: Path) -> dict[str, Any]:
    """Outcome tables by file."""
    files = find_outcomes([runs / "outcomes"])
    return {str(path.relative_to(runs)): pq.read_table(path).replace_schema_metadata(None) for path in files}


def digests(runs: Path) -> dict[str, str]:
    """Digests of the weights by folder."""
    folders = [path.parent for path in runs.glob("ensembles/**/run.json")]
    return {str(folder.relative_to(runs)): record.weights for folder in folders if (record := read_record(folder))}


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    for name in ("train", "evaluate", "load_answering"):
        monkeypatch.setattr(steps, name, computed)


# Help


def test_version(rbe: Rbe) -> None:
    assert rbe("--version").out.startswith("rbe, version ")


# list, plan, --dry-run


def line_of(out: str, name: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_list(rbe: Rbe) -> None:
    result = rbe("list")
    assert (result.code, result.err) == (0, "")
    for name in names("zoo"):
        recipe = load_recipe(name)
        keys = recipe.settings
        facts = [name, keys.dataset, keys.method, str(keys.sub_models), recipe.hash]
        seeds = ["seeds", *", ".join(map(str, published(recipe))).split()] if published(recipe) else ["-"]
        assert line_of(result.out, name) == [*facts, "-", *seeds]
    for name in names("attacks"):
        protocol = load_protocol(name)
        assert line_of(result.out, name)[1:5] == [
            *(protocol.settings.dataset, protocol.settings.kind, str(protocol.settings.version), protocol.hash)
        ]
    assert not Path("runs").exists()


@pytest.mark.slow
def test_list_shows_what_is_trained_and_evaluated(rbe: Rbe) -> None:
    """Recipes and protocols of one's own, in the working directory."""
    Path("zoo").mkdir()
    Path("attacks").mkdir()
    Path("zoo/tiny.toml").write_text(
        'extends = "digits/baseline-3"\nsteps = 3\nsub_models = 2\nbatch_size = 16\n[network_args]\nwidth = 2'
    )
    Path("attacks/tiny.toml").write_text(
        'extends = "digits/whitebox"\nimages = 5\neps = [0.1]\nsteps = 1\nrestarts = 1'
    )
    assert rbe("attack", "tiny", "tiny", "--seeds", "3-4").code == 0
    assert rbe("train", "zoo/tiny.toml", "--seeds", "12").code == 0
    lines = [line.split() for line in rbe("list").out.splitlines() if line.startswith(" tiny ")]
    assert [line[5:] for line in lines] == [["seeds", "3,", "4,", "12", "-"], ["tiny#3,", "tiny#4"]]


@pytest.mark.slow
def test_list_shows_overrides_and_recipes_from_elsewhere(rbe: Rbe) -> None:
    Path("mine").mkdir()
    Path("mine/own.toml").write_text(
        'extends = "digits/baseline-3"\nsteps = 3\nsub_models = 2\nbatch_size = 16\n[network_args]\nwidth = 2'
    )
    changed = "digits/whitebox[images=5,eps=[0.1],steps=1,restarts=1]"
    assert "Other" not in rbe("list").out
    assert rbe("attack", changed, "mine/own.toml", "--seeds", "1,0").code == 0
    assert rbe("train", "mine/own.toml", "--set", "steps=4").code == 0
    own, override = load_recipe("mine/own.toml"), load_recipe("mine/own.toml[steps=4]")
    out = rbe("list").out
    facts = ["digits", "baseline", "2"]
    assert line_of(out, own.label) == [own.label, *facts, own.hash, "seeds", "0,", "1"]
    assert line_of(out, override.label) == [override.label, *facts, override.hash, "seeds", "0"]
    protocol = load_protocol(changed)
    row = [protocol.label, "digits", "whitebox", str(protocol.settings.version), protocol.hash]
    assert line_of(out, protocol.label) == [*row, f"{own.label}#0,", f"{own.label}#1"]
    damaged = next(Path("runs/ensembles").rglob(f"*{override.hash}/seed-0/run.json"))
    damaged.write_text("{")
    lines = rbe("list").out.splitlines()
    assert not [line for line in lines if line.startswith(f" {override.label} ")]
    assert [line for line in lines if line.startswith("Warning: ") and str(damaged) in line]


@pytest.mark.slow
def test_attack_without_a_recipe_takes_what_is_trained(rbe: Rbe) -> None:
    Path("zoo").mkdir()
    Path("zoo/tiny.toml").write_text(
        'extends = "digits/baseline-3"\nsteps = 3\nsub_models = 2\nbatch_size = 16\n[network_args]\nwidth = 2'
    )
    result = rbe("attack", WHITEBOX)
    assert result.code == 2
    assert (
        "no recipe given, and none for dataset 'digits' is trained with seeds 0 in runs; name a recipe, one"
        in result.err
    )
    rbe("train", "tiny")
    assert rbe("attack", WHITEBOX).code == 0
    assert len(find_outcomes([Path("runs/outcomes")])) == 1


def test_plan_shows_order_state_and_cost(rbe: Rbe, tiny_runs: Path) -> None:
    result = rbe("plan", DVERGE, BLACKBOX, "--seeds", "0,1", "--runs", tiny_runs)
    assert (result.code, result.err) == (0, "")
    steps = [line.split() for line in result.out.splitlines() if " train " in line or " attack " in line]
    assert [(step[1], next(word for word in step if word in ("done", "due"))) for step in steps] == [
        ("train", "done"),
        ("train", "done"),
        ("train", "done"),
        ("attack", "done"),
        ("train", "due"),
        ("train", "due"),
        ("attack", "due"),
    ]
    assert not [step for step in steps if step[-1] == "?"]
    assert "3 of 7 steps due: about " in result.out
    assert "never timed" not in result.out


def test_plan_of_the_quickstart(rbe: Rbe) -> None:
    result = rbe("plan")
    assert re.search("9 of 9 steps due: about [^,]*\n", result.out)  # by published times
    assert rbe("quickstart", "--dry-run").out == result.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", [["train", DVERGE], ["attack", WHITEBOX, BASELINE], ["attack", BLACKBOX, DVERGE]])
def test_a_dry_run_does_nothing(rbe: Rbe, nothing_is_computed: None, command: list[str]) -> None:
    result = rbe(*command, "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert " steps due: " in result.out
    assert not list(Path().iterdir())


# Finished and unfinished work


@pytest.mark.slow
def test_a_second_run_finds_everything_done(rbe: Rbe, runs: Path, nothing_is_computed: None) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    for command in (
        ["train", BASELINE, DVERGE],
        ["train", BASELINE, "--seeds", "0,1000"],
        ["attack", WHITEBOX, BASELINE],
        ["attack", BLACKBOX, BASELINE, DVERGE],
    ):
        first, second = rbe(*command), rbe(*command)
        assert (first.code, first.err) == (0, "")
        assert first.out == second.out
        assert "0 of " in rbe(*command, "--dry-run").out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_set_is_the_same_as_brackets(rbe: Rbe, runs: Path, nothing_is_computed: None) -> None:
    result = rbe("train", "digits/baseline-3", "--set", "epochs=2", "--set", "network_args={width=4}")
    assert (result.code, result.err) == (0, "")
    assert f"{BASELINE}#0" in result.out


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(5, marks=pytest.mark.campaign),
        pytest.param(20, marks=pytest.mark.campaign),
        pytest.param(21, marks=pytest.mark.slow),
    ],
)
def test_training_goes_on_after_ctrl_c(rbe: Rbe, tiny_runs: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """With a checkpoint after every step; the weights are those of a run that was never interrupted, bit by bit."""
    monkeypatch.setattr(steps, "train", partial(steps.train, checkpoint_interval_s=0.0))
    folder = run_dir(Store(Path("runs")), load_recipe(BASELINE), 0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, Training, "step", step)
        result = rbe("train", BASELINE)
    assert result.code == 130
    assert result.err.splitlines()[-1:] == ["rbe: interrupted; the same command goes on from here"]
    assert [path.name for path in folder.glob("*")] == ([RESUME] if step > 1 else [])
    taken: list[int] = []
    real = Training.step
    monkeypatch.setattr(Training, "step", lambda self: (taken.append(1), real(self))[1])
    assert rbe("train", BASELINE).code == 0
    assert len(taken) == 2 * 20 - (step - 1)
    kept = run_dir(Store(tiny_runs), load_recipe(BASELINE), 0)
    recipe = load_recipe(BASELINE)
    assert load_trained(folder, recipe)[1].weights == load_trained(kept, recipe)[1].weights
    assert not (folder / RESUME).exists()


@pytest.mark.slow
def test_a_blackbox_attack_goes_on_after_ctrl_c(
    rbe: Rbe, tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in a training, then in the fourth variant: the rows are those of a run that was not."""
    command = ("attack", BLACKBOX, DVERGE)
    with monkeypatch.context() as patch:
        interrupt_at(patch, Training, "step", 50)
        assert rbe(*command).code == 130
    assert not Path("runs/outcomes").exists()
    with monkeypatch.context() as patch:
        interrupt_at(patch, blackbox, "save_crafted", 4)
        assert rbe(*command).code == 130
    assert len(list(Path("runs").glob("adversarial/*/*/*.safetensors"))) == 3
    assert not find_outcomes([Path("runs/outcomes")])
    written: list[Path] = []
    real = blackbox.save_crafted
    monkeypatch.setattr(blackbox, "save_crafted", lambda path, *rest: (written.append(path), real(path, *rest)))
    assert rbe(*command).code == 0
    assert len(written) == 8 - 3
    ours, whole = rows(Path("runs")), rows(tiny_runs)
    assert len(ours) == 1
    for file, table in ours.items():
        assert table.equals(whole[file])
    theirs = digests(tiny_runs)
    assert {folder: theirs[folder] for folder in digests(Path("runs"))} == digests(Path("runs"))
    assert not list(Path("runs").rglob("*.part"))
    assert not list(Path("runs").rglob(".*.parts"))


@pytest.mark.slow
def test_crafted_images_are_used_for_every_target(rbe: Rbe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in find_outcomes([runs / "outcomes"]):
        path.unlink()
    monkeypatch.setattr(blackbox, "save_crafted", None)
    assert rbe("attack", BLACKBOX, BASELINE, DVERGE).code == 0


# Reports, checkpoints, the terminal


@pytest.mark.slow
def test_report(rbe: Rbe, runs: Path) -> None:
    result = rbe("report", "--name", "mine")
    assert (result.code, result.err) == (0, "")
    assert "Report: runs/reports/mine/index.html (and runs/reports/mine/report.md)" in result.out
    assert BASELINE in result.out
    for file in ("index.html", "report.md"):
        assert Path("runs/reports/mine", file).stat().st_size > 1000
    assert rbe("report", "--publish", "mine").code == 0
    assert Path("reports/mine/report.md").exists()
    assert "Made by `rbe report --name mine`." in Path("runs/reports/mine/report.md").read_text()


@pytest.mark.slow
def test_check(rbe: Rbe, runs: Path) -> None:
    """A pin takes five seeds; a moved number is exit code 1."""
    tiny = "digits/baseline-3[batch_size=32,network_args.width=2,steps=3]"
    assert rbe("attack", WHITEBOX, tiny, "--seeds", "0-4", "--runs", "five").code == 0
    outcomes = "five/outcomes"
    assert rbe("pin", "pin.json", outcomes).code == 0
    assert rbe("check", "pin.json", outcomes).code == 0
    file = read_outcomes(find_outcomes([Path(outcomes)])[0])
    file.outcomes["predicted"] = file.outcomes["label"]
    file.outcomes["correct"] = True
    write_outcomes(file.path, file.outcomes, file.measurements, file.provenance)
    result = rbe("check", "pin.json", outcomes, "--json")
    assert (result.code, result.err) == (1, "")
    assert json.loads(result.out)["moved"] is True


@pytest.mark.slow
def test_a_checkpoint_goes_out_and_comes_back(rbe: Rbe, runs: Path) -> None:
    assert rbe("export-checkpoint", BASELINE, "out/x.pth").code == 0
    result = rbe("import-checkpoint", "out/x.pth", BASELINE, "--seed", 5)
    assert (result.code, result.err) == (0, "")
    recipe = load_recipe(BASELINE)
    one, mine = load_trained(run_dir(Store(runs), recipe, 0), recipe)
    other, imported = load_trained(run_dir(Store(runs), recipe, 5), recipe)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert imported.weights == mine.weights
    assert imported.training is None
    assert imported.lineage == [f"imported {mine.weights}"]
    assert rbe("attack", WHITEBOX, BASELINE, "--seeds", 5).code == 0


def test_numbers_stay_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    table = console.table("Title", ("ensemble", "clean %"), [(f"{DVERGE}#0", "98.7")])
    narrow = Console(width=40, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr(console, "OUT", narrow)
    console.show(table)
    out = capsys.readouterr().out
    assert "98.7" in out
    assert max(map(len, out.splitlines())) <= 40
    joined = "".join(line.split("  ")[0].strip() for line in out.splitlines()[3:])
    assert f"{DVERGE}#0" in joined


def test_tables_do_not_fold_in_a_file(capsys: pytest.CaptureFixture) -> None:
    console.show(console.table("", ("ensemble", "clean %"), [(f"{DVERGE}#0", "98.7")]))
    assert f"{DVERGE}#0      98.7" in capsys.readouterr().out


@pytest.mark.slow
def test_an_unhealthy_attack_is_told_after_it_ran(rbe, runs):
    """Two steps cannot have converged; a limit of no gain at all makes sure that it is told."""
    protocol = WHITEBOX.replace(
        "steps=2]", "steps=2,health.loss_rising=1.0,health.budget_used=1.0,health.doubling_gain=0]"
    )
    result = rbe("attack", protocol, BASELINE, "--runs", runs)
    assert result.code == 0
    assert " is unhealthy, its accuracy may be too high: " in " ".join(result.out.split())
