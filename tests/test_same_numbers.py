"""The comparison of two commits: it names every number that moved, and leaves the repository as it was."""

import subprocess

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import same_numbers


@pytest.fixture
def compare(monkeypatch):
    """Run the command on given numbers of the other commit and of the working tree."""

    def run(there, here):
        sides = iter((there, here))
        monkeypatch.setattr(same_numbers, "numbers", lambda *args: next(sides))
        return CliRunner().invoke(same_numbers.main, ["HEAD"])

    return run


def test_equal_numbers_pass(compare):
    result = compare({"weights": "a", "hash": "b"}, {"weights": "a", "hash": "b", "hash of a new recipe": "c"})
    assert result.exit_code == 0
    assert "0 of 2 numbers of HEAD moved" in result.output


@pytest.mark.parametrize("here", [{"weights": "a", "hash": "c"}, {"weights": "a"}])
def test_a_number_that_moves_or_is_missing_is_named(compare, here):
    result = compare({"weights": "a", "hash": "b"}, here)
    assert result.exit_code == 1
    assert "hash: b at HEAD" in result.output
    assert "1 of 2 numbers of HEAD moved" in result.output


def test_a_checkout_is_removed_afterwards():
    with same_numbers.checked_out("HEAD") as tree:
        assert (tree / "setup.cfg").is_file()
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=same_numbers.ROOT, capture_output=True, text=True, check=True
    )
    assert str(tree) not in listed.stdout


def test_a_table_is_known_by_its_content(tmp_path):
    one = pd.DataFrame({"name": ["x", "time/attack"], "value": [1.0, 2.0]})
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    one.to_parquet(paths[0])
    one.assign(value=[1.0, 3.0])[["value", "name"]].to_parquet(paths[1])  # another time, another order of columns
    one.assign(value=[1.5, 2.0]).to_parquet(paths[2])
    first, same, other = map(same_numbers._of_table, paths)
    assert first == same != other
