"""Whose code runs: what a person names may bring its own, what is only read may not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from robustbench_ens import check as checking
from robustbench_ens.cli import plans
from robustbench_ens.cli.check import CheckRequest, _attacked_again
from robustbench_ens.cli.options import Where
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.trust import OutsideCodeError, check_may_import, no_outside_code
from robustbench_ens.core.store import write_json
from robustbench_ens.errors import UserError
from robustbench_ens.workflow import repeat
from tests.conftest import BASELINE, WHITEBOX, Rbe

CODE = """
from pathlib import Path
Path("it-ran").touch()
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.training.baseline import Baseline as Method
def build(channels, classes):
    return ResNet(8, channels=channels, classes=classes, width=4)
"""


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module beside the user that leaves a file behind when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("hostile.py").write_text(CODE)
    yield
    sys.modules.pop("hostile", None)


def ran() -> bool:
    return Path("it-ran").exists()


def test_outside_code_is_refused_only_where_it_is_only_read() -> None:
    with no_outside_code():
        with pytest.raises(OutsideCodeError, match="recipe 'x': expected code of robustbench_ens itself, got 'hostile"):
            import_object("hostile:build", "recipe 'x'")
        import_object("robustbench_ens.models.resnet:ResNet", "here")
        with pytest.raises(UserError, match="expected package.module:Name"):
            import_object("robustbench_ens_hostile", "here")
    assert not ran()
    import_object("hostile:build", "here")
    assert ran()


@pytest.fixture
def pin(rbe: Rbe, tiny_runs: Path) -> dict:
    """The content of a paired baseline."""
    (outcomes,) = (path for path in tiny_runs.glob("outcomes/digits/whitebox*/*") if "measure" not in path.name)
    assert rbe("pin", "pin.json", outcomes, "--paired", "--runs", tiny_runs).code == 0
    content = json.loads(Path("pin.json").read_text())
    content.pop("digest", None)
    return content


@pytest.mark.parametrize(
    "reference",
    [
        "digits/baseline-3[method=hostile:Method]",
        "digits/baseline-3[network=hostile:build]",
        "digits/dverge-3[init_from=hostile.toml]",
        "hostile.toml",
        "/etc/x.toml",
    ],
)
def test_a_baseline_is_data(rbe: Rbe, tiny_runs: Path, pin: dict, reference: str) -> None:
    Path("hostile.toml").write_text('extends = "digits/baseline-3"\nmethod = "hostile:Method"\n')
    pin["evaluations"][0]["ensemble"] = reference
    write_json(Path("pin.json"), pin)
    result = rbe("check", "pin.json", "--attack", "--runs", tiny_runs)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("rbe: error: pin.json: --attack: ")
    # A network is not imported before weights for it are found, and there are none.
    assert ("give --trust" in result.err) == ("network" not in reference)
    assert not ran()


def test_so_is_a_protocol_of_a_baseline_and_its_surrogates(rbe: Rbe, tiny_runs: Path, pin: dict) -> None:
    Path("hostile.toml").write_text('extends = "digits/baseline-3"\nmethod = "hostile:Method"\n')
    for protocol in ("hostile.toml", 'digits/blackbox-compact[surrogates=[{recipe="hostile.toml",seed=1000}]]'):
        pin["evaluations"][0]["protocol"] = protocol
        write_json(Path("pin.json"), pin)
        result = rbe("check", "pin.json", "--attack", "--runs", tiny_runs)
        assert (result.code, result.err.count("\n"), ran()) == (2, 1, False)
        assert "give --trust" in result.err


def test_trusted_it_is_imported(rbe: Rbe, tiny_runs: Path, pin: dict) -> None:
    pin["evaluations"][0]["ensemble"] = "digits/baseline-3[method=hostile:Method]"
    write_json(Path("pin.json"), pin)
    result = rbe("check", "pin.json", "--attack", "--trust", "--runs", tiny_runs)
    assert "got none in" in result.err and ran()
    assert "--trust: expected --attack beside it" in rbe("check", "pin.json", "--trust").err


@pytest.mark.slow
def test_reading_imports_nothing(rbe: Rbe, runs: Path) -> None:
    """A recipe of one's own zoo is listed by name, beside outcomes that name it."""
    Path("zoo/own").mkdir(parents=True)
    Path("zoo/own/mine.toml").write_text('extends = "digits/baseline-3"\nmethod = "hostile:Method"\n')
    Path("zoo/README.md").write_text("<!-- recipes: written by `rbe list --publish` -->\n<!-- end of recipes -->\n")
    result = rbe("list")
    assert (result.code, result.err) == (0, "")
    assert "own/mine" in result.out
    for command in (
        ["list", "--publish"],
        ["report"],
        ["pin", "pin.json", "--paired"],
        ["check", "pin.json"],
    ):
        assert rbe(*command).code == 0
    assert "| `own/mine` | code from outside |" in Path("zoo/README.md").read_text()
    assert not ran()


@pytest.mark.parametrize("command", [["plan"], ["train", "--dry-run"], ["attack", WHITEBOX, "--dry-run"]])
def test_planning_a_recipe_imports_its_code_and_the_help_says_so(rbe: Rbe, command: list[str]) -> None:
    assert rbe(*command, "digits/baseline-3[method=hostile:Method]").code == 0
    assert ran()
    assert re.search(r"imports|imported", rbe(command[0], "--help").out)


def test_a_trained_ensemble_is_no_reason_either(rbe: Rbe, tiny_runs: Path) -> None:
    assert rbe("train", BASELINE, "--dry-run", "--runs", tiny_runs).code == 0
    assert not ran()


@pytest.mark.parametrize("trust", [False, True])
def test_nor_is_a_network_whose_weights_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trust: bool) -> None:
    """It would be imported while the attacks run, after planning."""
    imported = []

    def carry_out(plan: object, dry_run: bool) -> None:
        check_may_import("hostile:build", "network")
        imported.append(plan)

    monkeypatch.setattr(checking, "read_pin", lambda path: None)
    monkeypatch.setattr(repeat, "repeat_plan", lambda place, pin, baseline, trust: "plan")
    monkeypatch.setattr(plans, "carry_out", carry_out)
    monkeypatch.setattr(plans, "plan_outcomes", lambda plan: [])
    with nullcontext() if trust else pytest.raises(OutsideCodeError):
        _attacked_again(Where(tmp_path, None), CheckRequest(tmp_path / "pin.json", attack=True, trust=trust))
    assert imported == (["plan"] if trust else [])


HOSTILE = {
    "method": 'extends = "digits/baseline-3"\nmethod = "hostile:Method"\n',
    "the method of its start": 'extends = "digits/dverge-3"\ninit_from = "digits/baseline-3[method=hostile:Method]"\n',
    "network": 'extends = "digits/baseline-3"\nnetwork = "hostile:build"\n',
}


@pytest.mark.slow
@pytest.mark.parametrize("keys", HOSTILE.values(), ids=HOSTILE)
def test_an_attack_without_a_recipe_imports_nothing_that_was_not_trained_here(rbe: Rbe, keys: str) -> None:
    Path("zoo").mkdir()
    Path("zoo/mine.toml").write_text(keys)
    result = rbe("attack", WHITEBOX)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "mine" in result.err
    assert rbe("list").code == 0
    assert not ran()


@pytest.mark.slow
def test_what_was_trained_here_is_attacked(rbe: Rbe) -> None:
    Path("zoo").mkdir()
    small = "steps = 2\nbatch_size = 8\n[network_args]\nwidth = 2\n"
    Path("zoo/mine.toml").write_text(f'extends = "digits/baseline-3"\nmethod = "hostile:Method"\n{small}')
    assert rbe("train", "mine").code == 0
    assert "attack mine#0 under" in rbe("attack", WHITEBOX, "--dry-run").out
