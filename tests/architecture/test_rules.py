"""The never-rules of `ARCHITECTURE.md` that the source of a module shows; each one finds a planted breach."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from tests.architecture import rules
from tests.architecture.graph import sources

MODULES = sources()

ALLOWED: dict[rules.Rule, dict[str, str]] = {
    rules.seeds_globally: {},
    rules.steps_an_optimiser: {"training.trainer": "it alone trains"},
    rules.asserts_on_input: {
        "data.dataset": "the readers have checked what a user can get wrong",
        "core.seal": "callers ensure it",
    },
    rules.swallows_everything: {},
    rules.loads_partly: {},
    rules.writes_files: {
        "core.locks": "lock files hold nothing",
        "core.seal": "seals the temporary file",
        "cli.exits": "opens the null device",
    },
    rules.imports_by_name: {
        "config.outside": "imports code from outside",
        "config.kinds": "reads its own table",
        "data": "imports its own modules when they are used",
        "cli.app": "reads its own table",
    },
}
"""Modules that each rule exempts, and why."""


@pytest.mark.parametrize("rule", ALLOWED, ids=lambda rule: rule.__name__)
def test_no_module_breaks_the_rule(rule: rules.Rule) -> None:
    breaches = {name.partition(".")[2]: rule(ast.parse(source)) for name, source in MODULES.items()}
    broken = {name: found for name, found in breaches.items() if found and name not in ALLOWED[rule]}
    assert broken == {}


@pytest.mark.parametrize("rule", ALLOWED, ids=lambda rule: rule.__name__)
def test_each_exemption_is_needed(rule: rules.Rule) -> None:
    needless = [name for name in ALLOWED[rule] if not rule(ast.parse(MODULES[f"robustbench_ens.{name}"]))]
    assert needless == []


BREACHES: list[tuple[rules.Rule, str]] = [
    (rules.seeds_globally, "torch.manual_seed(0)"),
    (rules.seeds_globally, "np.random.seed(0)"),
    (rules.seeds_globally, "with torch.random.fork_rng():\n    pass\ntorch.default_generator.manual_seed(0)"),
    (rules.steps_an_optimiser, "optimizer.step()"),
    (rules.steps_an_optimiser, "self.optimizer.step()"),
    (rules.steps_an_optimiser, "made = torch.optim.SGD([])"),
    (rules.steps_an_optimiser, "from torch import nn, optim"),
    (rules.steps_an_optimiser, "from torch.optim import SGD"),
    (rules.asserts_on_input, "def f(eps):\n    assert eps > 0"),
    (rules.asserts_on_input, "assert isinstance(eps, float) and eps > 0"),
    (rules.swallows_everything, "try:\n    f()\nexcept:\n    raise"),
    (rules.swallows_everything, "try:\n    f()\nexcept BaseException:\n    pass"),
    (rules.swallows_everything, "try:\n    f()\nexcept (OSError, BaseException) as error:\n    print(error)"),
    (rules.loads_partly, "model.load_state_dict(state, strict=False)"),
    (rules.loads_partly, "model.load_state_dict(state, False)"),
    (rules.loads_partly, "model.load_state_dict(state, strict=strict)"),
    (rules.writes_files, "path.write_text('a')"),
    (rules.writes_files, "open(path, 'w')"),
    (rules.writes_files, "open(path, mode='ab')"),
    (rules.writes_files, "path.open('r+')"),
    (rules.writes_files, "os.open(path, os.O_CREAT | os.O_WRONLY)"),
    (rules.writes_files, "torch.save(state, path)"),
    (rules.writes_files, "save_file(state, path)"),
    (rules.writes_files, "frame.to_csv(path, index=False)"),
    (rules.writes_files, "np.savez_compressed(path)"),
    (rules.writes_files, "figure.savefig(path)"),
    (rules.writes_files, "with atomic_path(path) as temporary:\n    pass\nother.write_bytes(b'')"),
    (rules.imports_by_name, "importlib.import_module(name)"),
    (rules.imports_by_name, "__import__(name)"),
    (rules.imports_by_name, "exec(text)"),
]


@pytest.mark.parametrize(("rule", "source"), BREACHES, ids=[f"{r.__name__}-{s[:30]}" for r, s in BREACHES])
def test_a_planted_breach_is_found(rule: rules.Rule, source: str) -> None:
    harmless = "def f() -> None:\n    return None\n"
    assert rule(ast.parse(harmless)) == []
    assert {breach.line for breach in rule(ast.parse(f"{harmless}{source}\n"))} <= set(range(3, 9))
    assert rule(ast.parse(f"{harmless}{source}\n"))


FINE: list[tuple[rules.Rule, str]] = [
    (rules.seeds_globally, "torch.Generator().manual_seed(0)"),
    (rules.seeds_globally, "with lock, torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)"),
    (rules.steps_an_optimiser, "self.step()"),
    (rules.asserts_on_input, "assert found is not None and isinstance(found, Path)"),
    (rules.swallows_everything, "try:\n    f()\nexcept BaseException:\n    stop()\n    raise"),
    (rules.swallows_everything, "try:\n    f()\nexcept Exception as error:\n    print(error)"),
    (rules.loads_partly, "model.load_state_dict(state)"),
    (rules.writes_files, "with atomic_path(path, sealed=True) as temporary:\n    torch.save(state, temporary)"),
    (rules.writes_files, "buffer = io.BytesIO()\nnp.savez_compressed(buffer, a=1)\nfigure.savefig(buffer)"),
    (rules.writes_files, "write_text(path, frame.to_csv(index=False))"),
    (rules.writes_files, "open(path, 'rb')\nos.open(path, os.O_RDONLY)\narchive.open(member)"),
    (rules.imports_by_name, "importlib.import_module('pyautoattack')"),
]


@pytest.mark.parametrize(("rule", "source"), FINE, ids=[f"{r.__name__}-{s[:30]}" for r, s in FINE])
def test_what_is_allowed_is_not_found(rule: rules.Rule, source: str) -> None:
    assert rule(ast.parse(dedent(source))) == []
