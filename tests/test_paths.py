from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.errors import UserError
from robustbench_ens.paths import inside

HOSTILE = ["/etc/x", "../x", "a/../../x", "a/../b", "a//b", "a/", "", ".", "..", ".x", "a/.x", "a\0b", "a\nb", "\ud800"]
"""No name of a file below a folder."""


@pytest.mark.parametrize("name", [*HOSTILE, 256 * "x", "a/" + 128 * "é"])
def test_hostile_names_are_one_line(name: str) -> None:
    with pytest.raises(UserError) as error:
        inside(Path("reports"), name, "file.parquet: name of the protocol")
    assert str(error.value).startswith(
        "file.parquet: name of the protocol: expected a plain name, to make a path in rep"
    )
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    str(error.value).encode()


@pytest.mark.parametrize("name", ["digits/x", "a b", "x[y=1]", "é", "a..b", "a/b.c/d", 255 * "x"])
def test_plain_names(name: str) -> None:
    assert inside(Path("reports"), name, "here") == Path("reports") / name


@given(st.text(st.sampled_from("ab./\0\n ~\\")))
def test_whatever_is_let_through_lies_inside(name: str) -> None:
    folder = Path("/somewhere/reports")
    try:
        path = inside(folder, name, "here")
    except UserError:
        return
    assert path.resolve().is_relative_to(folder) and path.resolve() != folder
