"""`rbe check`: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from robustbench_ens.check import SUFFIXES, Pin, write_pin
from tests.check.conftest import IMAGES, scattered
from tests.check.test_verdicts import _planted
from tests.conftest import Rbe
from tests.fake_outcomes import write_fake_outcomes


@pytest.fixture
def place(pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a baseline, and outcomes of a pinned seed that are as they were."""
    monkeypatch.chdir(tmp_path)
    write_pin(tmp_path / "pin.json", pin)
    write_fake_outcomes(tmp_path / "runs", seeds=[3], images=IMAGES, accuracy=scattered)
    return tmp_path


@pytest.mark.slow
def test_every_file_is_written_in_the_format_of_its_name(rbe: Rbe, place: Path) -> None:
    outputs = [f"new/check{suffix}" for suffix in SUFFIXES]
    result = rbe("check", "pin.json", *(word for output in outputs for word in ("--output", output)))
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("Nothing moved.\n")
    text, as_json, junit, markdown = (Path(output).read_text(encoding="utf-8") for output in outputs)
    assert text.strip() == result.out.strip()
    assert json.loads(as_json)["moved"] is False
    assert ElementTree.fromstring(junit).get("failures") == "0"
    assert markdown.startswith("### ✅ Nothing moved")


@pytest.mark.slow
def test_moved_numbers_are_written_too(rbe: Rbe, place: Path) -> None:
    write_fake_outcomes(place / "runs", seeds=[3], images=IMAGES, accuracy=_planted("whitebox", 0.1))
    result = rbe("check", "pin.json", "--format", "junit", "--output", "check.md")
    assert (result.code, result.err) == (1, "")
    assert ElementTree.fromstring(result.out).get("failures") == "2"
    assert Path("check.md").read_text(encoding="utf-8").startswith("### ❌ Numbers moved: 2 moved cells\n")


@pytest.mark.slow
def test_formats_on_the_terminal(rbe: Rbe, place: Path) -> None:
    assert rbe("check", "pin.json", "--json").out == rbe("check", "pin.json", "--format", "json").out
    assert rbe("check", "pin.json").out == rbe("check", "pin.json", "--format", "text").out
    assert rbe("check", "pin.json", "--format", "markdown").out.startswith("###")


def test_what_is_refused(rbe: Rbe, place: Path) -> None:
    for arguments, message in {
        ("--format", "html"): "'html' is not one of 'text', 'json', 'junit', 'markdown'",
        ("--json", "--format", "junit"): "--json: expected no other --format, got junit",
        (
            "--output",
            "check.html",
        ): "--output: expected a file name that ends in one of .txt (text), .json (json), .xml "
        "(junit), .md (markdown), got 'check.html'",
        ("--update", "--output", "check.md"): "--output: expected no --update beside it, which compares nothing",
        ("--update", "--json"): "--json: expected no --update beside it, which compares nothing",
        ("--update", "--attack"): "--attack: expected no --update beside it, which compares nothing",
        ("--update", "--batch-size", "5"): "--batch-size: expected no --update beside it, which compares nothing",
        ("--paired",): "--paired: expected none; the baseline itself is paired or not, as `rbe pin` made it",
        ("--batch-size", "5"): "--batch-size: expected --attack beside it; nothing else computes on images",
        ("--trust",): "--trust: expected --attack beside it; nothing else imports what a baseline names",
        ("--skip-missing-data",): "--skip-missing-data: expected --attack beside it; nothing else needs the images",
        ("runs", "--attack"): "--attack: expected no OUTCOMES beside it: it makes the outcomes to compare",
        ("--attack", "--skip-missing-data", "--json"): "--skip-missing-data: expected no --output and no --format but",
        ("--attack", "--skip-missing-data", "--output", "x.md"): "--skip-missing-data: expected no --output and no",
    }.items():
        result = rbe("check", "pin.json", *arguments)
        assert result.code == 2
        assert message in result.err
        assert result.err.count("\n") == 1


def _alone(root: Path, seed: int = 0) -> None:
    """Outcomes of every kind and one seed, in a run directory of their own."""
    write_fake_outcomes(root, seeds=[seed], images=IMAGES, accuracy=scattered)


@pytest.mark.slow
def test_certain_weights_can_be_pinned_alone(rbe: Rbe, place: Path) -> None:
    _alone(place / "one")
    assert rbe("pin", "alone.json", "--runs", "one").code == 2
    assert rbe("pin", "alone.json", "--paired", "--runs", "one").code == 0
    result = rbe("check", "alone.json", "--runs", "one")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("Nothing moved.\n")
    found = json.loads(rbe("check", "alone.json", "--runs", "one", "--json").out)
    assert {row["comparison"] for row in found["cells"]} == {"paired"}
    assert {row["pinned_seeds"] for row in found["cells"]} == {1}


@pytest.mark.slow
def test_what_a_paired_baseline_notices(rbe: Rbe, place: Path) -> None:
    _alone(place / "one")
    rbe("pin", "alone.json", "--paired", "--runs", "one")
    write_fake_outcomes(place / "worse", seeds=[0], images=IMAGES, accuracy=_planted("whitebox", 0.05))
    result = rbe("check", "alone.json", "--runs", "worse")
    assert result.code == 1 and "digits/whitebox" in result.out
    _alone(place / "other", seed=1)
    result = rbe("check", "alone.json", "--runs", "other")
    assert result.code == 1
    assert "expected the pinned weights, got others; the baseline is paired" in result.out
    assert "missing: no fresh outcomes of the pinned weights" in result.out
    assert "pin it with `rbe pin --paired`" in result.out
    result = rbe("check", "alone.json", "--paired", "--runs", "one")
    assert (result.code, result.err.count("\n")) == (2, 1) and "--paired: expected none" in result.err
