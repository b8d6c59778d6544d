"""The public names: light to import, and documented once."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys

import pytest

import robustbench_ens
from robustbench_ens import api

FUNCTIONS = ("evaluate", "load_ensemble")


def test_importing_the_package_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, robustbench_ens; sys.exit(bool({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_that_of_the_api(name: str) -> None:
    function = getattr(robustbench_ens, name)
    assert function is getattr(api, name)
    assert name in dir(robustbench_ens)
    assert name in robustbench_ens.__all__
    shown = pydoc.plain(pydoc.render_doc(function))
    for parameter in inspect.signature(function).parameters:
        assert f"        {parameter}: " in shown  # in its section Args


def test_star_import_gives_the_public_names() -> None:
    found: dict[str, object] = {}
    exec("from robustbench_ens import *", found)
    assert set(found) - {"__builtins__"} == set(robustbench_ens.__all__)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'robustbench_ens' has no attribute 'evalute'"):
        _ = robustbench_ens.evalute
    with pytest.raises(ImportError, match="cannot import name 'Plan'"):
        exec("from robustbench_ens import Plan")
