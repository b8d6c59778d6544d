from pathlib import Path

import pytest

from robustbench_ens.outcomes import find_outcomes, read_outcomes


@pytest.fixture
def published(rbe, runs, tmp_path, monkeypatch):
    """A report of the tiny runs, published from another folder."""
    monkeypatch.chdir(tmp_path)
    assert rbe("report", "--runs", runs, "--publish", "tiny").code == 0
    return tmp_path / "reports" / "tiny"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_published_report_has_its_outcomes_beside_it_and_they_make_it_again(rbe, runs, published):
    outcomes = find_outcomes([published / "outcomes"])
    assert len(outcomes) == len(find_outcomes([runs / "outcomes"])) > 1
    for path in outcomes:
        read_outcomes(path)
    before = contents(published)
    assert rbe("report", published / "outcomes", "--publish", "tiny").code == 0
    assert contents(published) == before


def test_what_is_no_longer_part_of_the_report_is_no_longer_beside_it(rbe, runs, published):
    (first, *others) = find_outcomes([runs / "outcomes"])
    assert rbe("report", first, "--publish", "tiny").code == 0
    (left,) = find_outcomes([published / "outcomes"])
    assert left.name == first.name and left.parent.name == first.parent.name
    assert others
