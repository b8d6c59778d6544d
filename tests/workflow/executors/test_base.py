"""What every executor does in the end: a step that fails is done all the same if another process has finished it."""

import pytest

from robustbench_ens.core.locks import HeldError
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.executors.base import run_step


class Fails:
    """A step that fails, and then may be done."""

    def __init__(self, error, done):
        self.error = error
        self.done = done

    def run(self, place):
        raise self.error

    def is_done(self, place):
        if isinstance(self.done, Exception):
            raise self.done
        return self.done


REMOVED = FileNotFoundError(2, "gone", "parts/eps-0.1.parquet")
DAMAGED = UserError("parts/eps-0.1.parquet: expected an outcome file, got half of one")


@pytest.mark.parametrize("error", [REMOVED, DAMAGED])
def test_what_another_process_finished_meanwhile_is_no_failure(error):
    run_step(Fails(error, True), None)


@pytest.mark.parametrize(
    ("error", "done"),
    [(REMOVED, False), (DAMAGED, UserError("damaged too")), (HeldError("in use"), True), (ValueError("a bug"), True)],
)
def test_any_other_failure_is_raised(error, done):
    with pytest.raises(type(error), match=str(error)[:5].replace("[", ".")):
        run_step(Fails(error, done), None)
