import json
from pathlib import Path

import pytest

from robustbench_ens.core.store import write_json
from robustbench_ens.outcomes import find_outcomes, read_outcomes, write_outcomes
from tests.core.test_paths import HOSTILE


@pytest.fixture
def published(rbe, runs, tmp_path, monkeypatch):
    """A report of the tiny runs, published from another folder."""
    monkeypatch.chdir(tmp_path)
    assert rbe("report", "--runs", runs, "--publish", "tiny").code == 0
    return tmp_path / "reports" / "tiny"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_published_report_has_its_outcomes_beside_it_and_they_make_it_again(rbe, runs, published):
    outcomes = find_outcomes([published / "outcomes"])
    assert len(outcomes) == len(find_outcomes([runs / "outcomes"])) > 1
    for path in outcomes:
        read_outcomes(path)
    before = contents(published)
    made_by = "Made by `rbe report reports/tiny/outcomes --publish tiny`."
    assert made_by in (published / "report.md").read_text()
    assert rbe("report", published / "outcomes", "--publish", "tiny").code == 0
    assert contents(published) == before


@pytest.mark.slow
def test_outcomes_of_other_weights_from_another_run_directory_are_published_too(rbe, runs, published):
    first = read_outcomes(find_outcomes([published / "outcomes"])[0])
    target = first.provenance["target"] | {"weights": "b" * 64}
    other = Path("elsewhere") / first.path.parent.name / first.path.name
    write_outcomes(other, first.outcomes, first.measurements, first.provenance | {"target": target})
    assert rbe("report", first.path, other, "--publish", "both").code == 0
    outcomes = find_outcomes([Path("reports/both/outcomes")])
    assert {read_outcomes(path).provenance["target"]["weights"] for path in outcomes} == {
        target["weights"],
        first.provenance["target"]["weights"],
    }
    before = contents(Path("reports/both"))
    assert rbe("report", "reports/both/outcomes", "--publish", "both").code == 0
    assert contents(Path("reports/both")) == before


@pytest.mark.slow
def test_what_is_no_longer_part_of_the_report_is_no_longer_beside_it(rbe, runs, published):
    (first, *others) = find_outcomes([runs / "outcomes"])
    assert rbe("report", first, "--publish", "tiny").code == 0
    (left,) = find_outcomes([published / "outcomes"])
    assert left.name == first.name and left.parent.name == first.parent.name
    assert others


NAMES = [name for name in HOSTILE if name.isprintable() and name not in ("", "a/")] + ["a\0b", "a\nb", 300 * "x"]


def others(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if not name.endswith(".lock")}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_were_read_lead_nowhere_else(rbe, runs, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    first = read_outcomes(find_outcomes([runs / "outcomes"])[0])
    protocol = first.provenance["protocol"] | {"name": name}
    Path("in").mkdir()
    write_outcomes(Path("in/x.parquet"), first.outcomes, first.measurements, first.provenance | {"protocol": protocol})
    before = others(tmp_path)
    result = rbe("report", "in", "--publish", "mine")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("rbe: error: in/x.parquet: ")
    assert others(tmp_path) == before


def test_so_does_a_digest_that_tells_two_files_apart(rbe, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = read_outcomes(find_outcomes([runs / "outcomes"])[0])
    target = first.provenance["target"] | {"weights": "../../../x"}
    other = Path("in") / first.path.parent.name / first.path.name
    write_outcomes(other, first.outcomes, first.measurements, first.provenance | {"target": target})
    before = others(tmp_path)
    result = rbe("report", first.path, other, "--publish", "mine")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("rbe: error: in/")
    assert others(tmp_path) == before


def test_so_does_what_the_record_of_a_stale_run_says(rbe, runs, tmp_path, monkeypatch):
    """Its fingerprint names the folder that it is moved to."""
    monkeypatch.chdir(tmp_path)
    record = next(
        path for path in runs.rglob("run.json") if '"parent"' not in path.read_text() and "seed-0" in str(path)
    )
    text = record.read_text()
    content = json.loads(text)
    content.pop("digest", None)
    write_json(record, content | {"fingerprint": "../../../x"})
    result = rbe("train", content["label"])
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert not (tmp_path / "x").exists() and record.exists()
