"""Variants of attacks over seeds: the share of images that each breaks, and the number of seeds in which it decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from robustbench_ens.core.text import span
from robustbench_ens.reporting.figures.tips import SeedRate, seed_rates

OWN_SOURCE = "a surrogate for each ensemble"
KEY = ["source", "attack", "loss", "restart"]


@dataclass(frozen=True)
class Variant:
    """A column of the figure: headings from the widest group to the variant itself."""

    source: str
    attack: str
    loss: str
    restart: int

    @property
    def own(self) -> str:
        """The name of the variant below the heading of its attack."""
        short = {"cross_entropy": "CE", "cw": "CW"}.get(self.loss, self.loss)
        return f"{short} {self.restart}" if self.restart >= 0 else short


@dataclass(frozen=True)
class Effect:
    """The effect of a variant on one ensemble.

    Attributes:
        broken: the share of all images that it breaks.
        surrogate: the ensemble that images were crafted on.
        decides: the number of seeds in which it is one of the variants that decide.
        places: its places in the greedy order of those seeds, as text.
    """

    broken: SeedRate
    surrogate: str
    decides: int
    places: str

    @property
    def mostly_decides(self) -> bool:
        """True if it decides in most seeds."""
        return 2 * self.decides > self.broken.seeds

    def tip(self, ensemble: str, variant: Variant) -> str:
        """Return the tip of the variant's cell."""
        order = f"decides as number {self.places}" if self.decides else "never decides"
        seeds = f" in {self.decides} of {self.broken.seeds} seeds" if self.decides and self.broken.seeds > 1 else ""
        source = self.surrogate.rpartition("/")[2]
        return f"{ensemble}, {variant.attack} {variant.own} from {source}: breaks {self.broken.tip}, {order}{seeds}"


def effects(ledger: pd.DataFrame) -> dict[tuple[str, Variant], Effect]:
    """Return the effect of each variant on each ensemble.

    Starts are numbered only if an attack has several. If each ensemble has a single surrogate of its own, these count
    as one.

    Args:
        ledger: rows of one protocol.
    """
    rows = _with_one_source(ledger).assign(surrogate=ledger["source"])
    starts = rows.groupby(KEY[:3])["restart"].transform("nunique")
    rows = rows.assign(restart=rows["restart"].where(starts > 1, -1))
    keys = ["ensemble", *KEY]
    # As floats, variants that never decide are NaN, which counts skip.
    order = rows.assign(order=rows["order"].astype(float)).groupby(keys, observed=True)
    facts = order.agg(
        surrogate=("surrogate", "min"), count=("order", "count"), first=("order", "min"), last=("order", "max")
    )
    known = facts.to_dict("index")
    found = {}
    for key, left in seed_rates(rows, keys).items():
        ensemble, source, attack, loss, restart = key
        own = known[key]
        places = span([int(own["first"]), int(own["last"])]) if own["count"] else ""
        variant = Variant(str(source), str(attack), str(loss), int(restart))
        found[str(ensemble), variant] = Effect(left.complement, str(own["surrogate"]), int(own["count"]), places)
    return found


def in_order(found: Iterable[Variant]) -> list[Variant]:
    """Return variants by surrogate, attack, loss and random start."""
    return sorted(set(found), key=lambda variant: (variant.source, variant.attack, variant.loss, variant.restart))


def _with_one_source(ledger: pd.DataFrame) -> pd.DataFrame:
    each = ledger.groupby(["ensemble", "seed"])["source"].nunique()
    if len(each) and each.max() == 1 and ledger["source"].nunique() > 1:
        return ledger.assign(source=OWN_SOURCE)
    return ledger


def deciding_variants(ledger: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return all rows if there are at most ``most`` variants, and otherwise those of variants that decide for a target.

    Args:
        ledger: rows of one protocol.
        most: the largest number of variants of which all are kept.
    """
    groups = ledger.groupby(KEY)
    if groups.ngroups <= most:
        return ledger
    return ledger[groups["order"].transform("count") > 0]
