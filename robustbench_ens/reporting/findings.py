"""What the numbers say, in words: a claim stands only where a test supports it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from robustbench_ens.analysis.derive import between_sub_models
from robustbench_ens.analysis.worst_case import among
from robustbench_ens.config.kinds import TRANSFER, Kinds, shipped_kinds
from robustbench_ens.core.text import listing, percent, shorten, span
from robustbench_ens.reporting.tables.summary import eps_of_dataset, over_seeds, together

_LONGEST = 64  # characters of a name in running text
RULE = (
    "“Significantly” means: by the paired test on the images that both were attacked on, p < 0.05 after Holm's "
    "correction (see “Who beats whom”). Where two share no seed or no images, and for transferability, it means that "
    "the 95% intervals do not touch, in any pair of seeds where there are several."
)


def findings(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    comparisons: pd.DataFrame | None = None,
    kinds: Kinds | None = None,
) -> list[str]:
    """One sentence per protocol about the ensembles' order at the headline eps, and one on how sure that is.

    Args:
        accuracies, transfer: as :mod:`derive` gives them.
        comparisons: as ``compare.comparisons`` gives them; pairs that it lacks are judged by their intervals.
        kinds: facts of the kinds of protocols, those of the table unless given.
    """
    everything = together(accuracies, transfer)
    names = _short_names(everything["ensemble"].unique())
    everything = everything.assign(ensemble=everything["ensemble"].map(names))
    tested = _tested(comparisons, names)
    known = shipped_kinds() if kinds is None else kinds
    sentences = []
    for _, dataset in everything.groupby("dataset", observed=True):
        chosen = eps_of_dataset(dataset)
        if chosen is None:
            continue
        at_eps = dataset[dataset["eps"] == chosen.eps]
        groups = at_eps.groupby(["kind", "protocol"], observed=True)
        found = {(str(kind), str(protocol)): rows for (kind, protocol), rows in groups}
        for kind, protocol in sorted(found, key=lambda key: (not known[key[0]].expected, known[key[0]].yields, key)):
            rows = found[kind, protocol]
            where = f"{known[kind].title} at eps {chosen.eps:g}, n = {span(rows['n'])} ({protocol})"
            said = _transfer(rows) if known[kind].yields == TRANSFER else _accuracy(rows, tested.get(protocol, {}))
            sentences += [f"{where}: {text}" for text in said]
    single = sorted(everything.groupby("ensemble")["seed"].nunique().loc[lambda seeds: seeds == 1].index)
    if single:
        sentences.append(
            f"{listing(single)} {'stands' if len(single) == 1 else 'stand'} on one training seed: the intervals cover "
            "the choice of images, not the luck of training."
        )
    return sentences


def warnings(
    accuracies: pd.DataFrame, usual: Collection[tuple[str, str]] | None = None, kinds: Kinds | None = None
) -> list[str]:
    """Signs that an attack is weaker than it should be, where the intervals show them, and unequal comparisons.

    Args:
        accuracies: as :mod:`derive` gives them.
        usual: (protocol, ensemble) that are about the ensemble as it is defined, so that their numbers are of one
            model; all unless given.
        kinds: facts of the kinds of protocols, those of the table unless given.
    """
    known = shipped_kinds() if kinds is None else kinds
    of_one_model = accuracies if usual is None else accuracies[among(accuracies, usual)]
    return [
        *_less_knowledge_wins_more(of_one_model, known),
        *_rises_with_eps(accuracies),
        *_different_images(accuracies),
    ]


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """Long names with their middle left out, unless two would become one."""
    short = {name: shorten(name, _LONGEST) for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in short}


def _bounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Per ensemble: ``mean`` over seeds, and the outermost ends of their intervals."""
    return rows.groupby("ensemble").agg(mean=("accuracy", "mean"), low=("low", "min"), high=("high", "max"))


def _tested(comparisons: pd.DataFrame | None, names: dict[str, str]) -> dict[str, dict[tuple[str, str], bool]]:
    """By protocol and (better, worse), under the names that sentences use: whether the claim stands."""
    found: dict[str, dict[tuple[str, str], bool]] = {}
    for row in [] if comparisons is None else comparisons.to_dict("records"):
        pair = names.get(row["better"], ""), names.get(row["worse"], "")
        found.setdefault(row["protocol"], {})[pair] = row["supported"]
    return found


def _accuracy(rows: pd.DataFrame, tested: dict[tuple[str, str], bool]) -> list[str]:
    """``tested`` says of pairs (better, worse) on the same images whether the claim stands."""
    bounds = _bounds(rows).sort_values("mean", ascending=False)
    if len(bounds) < 2:
        return []
    texts = {str(name): over_seeds(own.sort_values("seed")) for name, own in rows.groupby("ensemble")}
    best = str(bounds.index[0])
    others = list(map(str, bounds.index[1:]))
    apart = dict(zip(others, bounds["high"].iloc[1:] < bounds["low"].iloc[0], strict=True))
    apart |= {name: False for name in others if (name, best) in tested}
    apart |= {name: tested[best, name] for name in others if (best, name) in tested}
    below, level = [name for name in others if apart[name]], [name for name in others if not apart[name]]
    text = {name: f"{name} ({texts[name]})" for name in texts}
    if not below:
        return [
            f"none is significantly best: {text[best]} is statistically tied with {listing([text[n] for n in level])}."
        ]
    tail = f"; it is statistically tied with {listing([text[name] for name in level])}" if level else ""
    return [f"{best} keeps {texts[best]}, significantly more than {listing([text[name] for name in below])}{tail}."]


def _transfer(rows: pd.DataFrame) -> list[str]:
    pairs = between_sub_models(rows)
    bounds = pairs.groupby("ensemble").agg(mean=("rate", "mean"), low=("low", "min"), high=("high", "max"))
    bounds = bounds.sort_values("mean")
    if len(bounds) < 2:
        return []
    best = bounds.index[0]
    above = [name for name in bounds.index[1:] if bounds.loc[name, "low"] > bounds.loc[best, "high"]]
    level = [name for name in bounds.index[1:] if name not in above]
    mean = {name: f"{name} ({percent(bounds.loc[name, 'mean'])})" for name in bounds.index}
    if not above:
        names = listing([mean[name] for name in (best, *level)])
        return [f"no ensemble lets significantly fewer attacks pass: the intervals of the pairs of {names} overlap."]
    tail = f"; tied with {listing([mean[name] for name in level])}" if level else ""
    return [
        f"between the sub-models of {best}, {percent(bounds.loc[best, 'mean'])} of attacks pass on average, and every "
        f"pair lies significantly below every pair of {listing([mean[name] for name in above])}{tail}."
    ]


def _less_knowledge_wins_more(accuracies: pd.DataFrame, kinds: Kinds) -> list[str]:
    keys = ["dataset", "ensemble", "seed", "eps"]
    attacked = accuracies[accuracies["eps"] > 0]
    texts = []
    for kind, facts in kinds.items():
        if facts.knows_less_than not in kinds:
            continue
        less, more = facts.title.lower(), kinds[facts.knows_less_than].title.lower()
        informed = attacked[attacked["kind"] == facts.knows_less_than]
        both = informed.merge(attacked[attacked["kind"] == kind], on=keys, suffixes=("_more", "_less"))
        texts += [
            f"{row['ensemble']} (seed {row['seed']}) at eps {row['eps']:g}: the {less} attack leaves "
            f"{percent(row['accuracy_less'])}, the {more} attack {percent(row['accuracy_more'])}. Whoever knows the "
            f"model should win more, so the {more} attack is too weak, and its accuracy too high."
            for row in both[both["high_less"] < both["low_more"]].to_dict("records")
        ]
    return texts


def _rises_with_eps(accuracies: pd.DataFrame) -> list[str]:
    texts = []
    for (protocol, ensemble, seed), rows in accuracies.groupby(["protocol", "ensemble", "seed"], observed=True):
        ladder = rows.sort_values("eps").reset_index(drop=True)
        lowest_high = ladder["high"].cummin().shift()
        risen = ladder[ladder["low"] > lowest_high]
        if len(risen):
            texts.append(
                f"{ensemble} (seed {seed}) under {protocol}: accuracy rises again at eps {risen['eps'].iloc[0]:g}. A "
                "larger budget contains the smaller one, so the attack fails there."
            )
    return texts


def _different_images(accuracies: pd.DataFrame) -> list[str]:
    texts = []
    for protocol, rows in accuracies.groupby("protocol", observed=True):
        sizes: Sequence[int] = sorted(rows["n"].unique())
        if len(sizes) > 1:
            numbers = listing([str(size) for size in sizes])
            texts.append(f"{protocol}: the ensembles were attacked on different numbers of images ({numbers}).")
    return texts
