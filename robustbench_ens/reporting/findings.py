"""The findings of a report as sentences. Each claim is supported by a test."""

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
    "“Significantly” means p < 0.05 after Holm's correction, by the paired test on the images that both ensembles were "
    "attacked on (see “Who beats whom”). If two ensembles share no seed or no images, and for transferability, it "
    "means that their 95% intervals do not overlap, in any pair of seeds if there are several."
)


def findings(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    comparisons: pd.DataFrame | None = None,
    kinds: Kinds | None = None,
) -> list[str]:
    """Return one sentence per protocol about the order of the ensembles at the standard eps.

    The last sentence names the ensembles with a single training seed.

    Args:
        accuracies, transfer: frames of :mod:`derive`.
        comparisons: the frame of ``compare.comparisons``. Pairs that it lacks are judged by their intervals.
        kinds: facts of the kinds of protocols. The default is those of the table.
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
        # Kinds that every report should have come first, so that readers find them at the same place.
        for kind, protocol in sorted(found, key=lambda key: (not known[key[0]].expected, known[key[0]].yields, key)):
            rows = found[kind, protocol]
            where = f"{known[kind].title} at eps {chosen.eps:g}, n = {span(rows['n'])} ({protocol})"
            texts = _transfer(rows) if known[kind].yields == TRANSFER else _accuracy(rows, tested.get(protocol, {}))
            sentences += [f"{where}: {text}" for text in texts]
    single = sorted(everything.groupby("ensemble")["seed"].nunique().loc[lambda seeds: seeds == 1].index)
    if single:
        sentences.append(
            f"{listing(single)} {'has' if len(single) == 1 else 'have'} one training seed: the intervals cover "
            "the choice of images, but not the variation between training runs."
        )
    return sentences


def warnings(
    accuracies: pd.DataFrame, usual: Collection[tuple[str, str]] | None = None, kinds: Kinds | None = None
) -> list[str]:
    """Return warnings about attacks that are weaker than they should be, and about unequal numbers of images.

    Args:
        accuracies: the frame of :mod:`derive`.
        usual: pairs (protocol, ensemble) that attack the ensemble as it is defined, so that their numbers are about the
            same model. The default is all pairs.
        kinds: facts of the kinds of protocols. The default is those of the table.
    """
    known = shipped_kinds() if kinds is None else kinds
    of_one_model = accuracies if usual is None else accuracies[among(accuracies, usual)]
    return [
        *_less_knowledge_wins_more(of_one_model, known),
        *_rises_with_eps(accuracies),
        *_different_images(accuracies),
    ]


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """Return names of which the long ones are shortened in the middle, unless two names would become equal."""
    short = {name: shorten(name, _LONGEST) for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in short}


def _bounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each ensemble, the ``mean`` over seeds and the outermost ends of their intervals."""
    return rows.groupby("ensemble").agg(mean=("accuracy", "mean"), low=("low", "min"), high=("high", "max"))


def _tested(comparisons: pd.DataFrame | None, names: dict[str, str]) -> dict[str, dict[tuple[str, str], bool]]:
    """Return, for each protocol and (better, worse), whether a test supports the claim.

    Ensembles have the names that sentences use.
    """
    found: dict[str, dict[tuple[str, str], bool]] = {}
    for row in [] if comparisons is None else comparisons.to_dict("records"):
        pair = names.get(row["better"], ""), names.get(row["worse"], "")
        found.setdefault(row["protocol"], {})[pair] = row["supported"]
    return found


def _accuracy(rows: pd.DataFrame, tested: dict[tuple[str, str], bool]) -> list[str]:
    """Return the sentence about the accuracies under one protocol, or none for a single ensemble.

    ``tested`` holds, for pairs (better, worse) on the same images, whether a test supports the claim.
    """
    bounds = _bounds(rows).sort_values("mean", ascending=False)
    if len(bounds) < 2:
        return []
    texts = {str(name): over_seeds(own.sort_values("seed")) for name, own in rows.groupby("ensemble")}
    best = str(bounds.index[0])
    others = list(map(str, bounds.index[1:]))
    # The order is the rule: a paired test overrides the intervals. If a test found the other one better on the shared
    # images, the best mean is no claim.
    below_best = dict(zip(others, bounds["high"].iloc[1:] < bounds["low"].iloc[0], strict=True))
    below_best |= {name: False for name in others if (name, best) in tested}
    below_best |= {name: tested[best, name] for name in others if (best, name) in tested}
    below = [name for name in others if below_best[name]]
    level = [name for name in others if not below_best[name]]
    text = {name: f"{name} ({texts[name]})" for name in texts}
    if not below:
        return [
            f"none is significantly best: {text[best]} is statistically tied with {listing([text[n] for n in level])}."
        ]
    tail = f"; it is statistically tied with {listing([text[name] for name in level])}" if level else ""
    return [f"{best} keeps {texts[best]}, significantly more than {listing([text[name] for name in below])}{tail}."]


def _transfer(rows: pd.DataFrame) -> list[str]:
    """Return the sentence about the transferability under one protocol, or none for a single ensemble."""
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
        less = facts.title.lower()
        more = kinds[facts.knows_less_than].title.lower()
        informed = attacked[attacked["kind"] == facts.knows_less_than]
        both = informed.merge(attacked[attacked["kind"] == kind], on=keys, suffixes=("_more", "_less"))
        texts += [
            f"{row['ensemble']} (seed {row['seed']}) at eps {row['eps']:g}: the {less} attack leaves "
            f"{percent(row['accuracy_less'])}, the {more} attack {percent(row['accuracy_more'])}. An attack that knows "
            f"more should beat more images, so the {more} attack is too weak and its accuracy is too high."
            for row in both[both["high_less"] < both["low_more"]].to_dict("records")
        ]
    return texts


def _rises_with_eps(accuracies: pd.DataFrame) -> list[str]:
    """Return a warning for each ensemble and seed whose accuracy rises with eps beyond its intervals."""
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
