"""The outcomes of one dataset in a paper's terms: what every table and figure of its section is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from robustbench_ens.core.text import slug
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Table, figure_block
from robustbench_ens.reporting.figures.curves import WIDTH
from robustbench_ens.reporting.papers.paper import Paper
from robustbench_ens.reporting.papers.reference import of_family, reference
from robustbench_ens.reporting.papers.subjects import questions_of, subjects_of
from robustbench_ens.reporting.scene import Draw
from robustbench_ens.reporting.style import Look


@dataclass(frozen=True)
class Shown:
    """What one topic shows of a part: its blocks, and what of the paper has something now."""

    blocks: list[Block] = field(default_factory=list)
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """What the outcomes of one dataset show.

    Attributes:
        paper: in whose terms.
        collection, looks: of the whole report.
        dataset: the attacked images.
        documents: provenance of the evaluations on ``dataset``.
        subjects: its ensembles, as :func:`~.subjects.subjects_of` gives them.
        questions: the paper's question that each pair of protocol and ensemble answers.
        beside: whether the paper's numbers may stand beside these.
        every_table: whether tables are wanted that, without the paper's numbers, repeat other sections.
    """

    paper: Paper
    collection: Collection
    looks: Mapping[str, Look]
    dataset: str
    documents: list[dict[str, Any]]
    subjects: pd.DataFrame
    questions: dict[tuple[str, str], str]
    beside: bool
    every_table: bool = False

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Records of the attacked ensembles, one per evaluation."""
        return [document["target"] for document in self.documents]

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of ``frame`` that are of this dataset."""
        return frame[frame["dataset"] == self.dataset]

    def asked(self, *questions: str) -> pd.DataFrame:
        """Return the accuracies under the protocols that answer one of these questions of the paper."""
        rates = self.own(self.collection.accuracies)
        pairs = zip(rates["protocol"], rates["ensemble"], strict=True)
        asked = [self.questions.get(pair) in questions for pair in pairs]
        return rates[pd.Series(asked, index=rates.index, dtype=bool)]

    def reference(self, name: str) -> pd.DataFrame:
        """Return the paper's numbers, without its rows where they do not belong."""
        numbers = reference(self.paper.folder, name)
        return numbers if self.beside else numbers.iloc[:0]

    def table(self, frame: pd.DataFrame, caption: str) -> Table:
        """Return a table about this dataset, shown on demand."""
        return Table(frame, f"{caption} ({self.dataset}).", collapsed=True, facts={"dataset": [self.dataset]})

    def figure(self, name: str, draw: Draw, alt: str, caption: str) -> Figures:
        """Return a figure about this dataset; ``name`` is unique within the part, ``draw`` draws it."""
        block = figure_block(
            f"{self.paper.figures}-{name}-{slug(self.dataset)}", draw, alt, WIDTH, {"dataset": [self.dataset]}
        )
        return Figures([block], f"{caption} ({self.dataset}).")


def parts_of(context: Context, paper: Paper) -> list[Part]:
    """Return one part of ``paper`` per dataset that was attacked, in order of name."""
    collection = context.collection
    datasets = sorted({document["target"]["dataset"] for document in collection.provenance})
    return [_part(context, paper, dataset) for dataset in datasets]


def _part(context: Context, paper: Paper, dataset: str) -> Part:
    documents = [one for one in context.collection.provenance if one["target"]["dataset"] == dataset]
    own, asked = subjects_of(documents, paper), questions_of(documents, paper)
    return Part(paper, context.collection, context.looks, dataset, documents, own, asked, of_family(dataset))


def has_ours(rates: pd.DataFrame, subjects: pd.DataFrame) -> bool:
    """Return whether any of ``rates`` is of one of ``subjects``."""
    return bool(rates["ensemble"].isin(subjects["ensemble"]).any())


def below(table: pd.DataFrame, rows: list[dict[str, str]]) -> pd.DataFrame:
    """Return ``table`` with ``rows`` of the paper below it; cells that they lack stay empty."""
    added = pd.DataFrame(rows, columns=table.columns, dtype=object).fillna("")
    return pd.concat([table, added], ignore_index=True).astype(str) if rows else table
