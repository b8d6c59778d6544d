"""A piece that does nothing, in a module that workers can import."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_ens.workflow.place import Workplace


@dataclass(frozen=True)
class Nothing:
    """A piece that does nothing: what it takes is what an executor adds to each."""

    number: int

    title = "nothing"
    seconds = 0.0
    needs: frozenset[str] = frozenset()
    makes: frozenset[str] = frozenset()

    def run(self, place: Workplace) -> None:
        """Do nothing."""
