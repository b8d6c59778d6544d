from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustbench_ens.core import memory
from robustbench_ens.core.memory import available_bytes, check_fits
from robustbench_ens.errors import UserError


def test_there_is_memory_here() -> None:
    assert 2**20 < available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", [None, "", "MemTotal: 3 kB\n", "MemAvailable: many kB\n"])
def test_a_system_that_does_not_say_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert available_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("error", [ValueError("unrecognized configuration name"), OSError("not supported")])
def test_a_system_that_does_not_state_its_memory_limits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def sysconf(name: str) -> int:
        raise error

    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory.os, "sysconf", sysconf)
    check_fits(2**50, "here", "things", "take fewer")


def test_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:  5 kB\n")
    assert available_bytes() == 5120
    for limit, used, free in (("max", "7", 5120), ("4096", "96", 4000), ("9999999", "96", 5120), ("10", "20", 0)):
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text(used)
        assert available_bytes() == free


def test_what_does_not_fit_is_said_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    check_fits(2**30, "here", "things", "take fewer")
    with pytest.raises(UserError) as error:
        check_fits(3 * 2**30, "here", "things", "take fewer")
    assert str(error.value) == (
        "here: expected things that fit in memory, 1,073,741,824 bytes (1.0 GiB) available, got 3,221,225,472 bytes "
        "(3.0 GiB); take fewer"
    )
