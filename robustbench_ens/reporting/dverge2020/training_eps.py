"""What DVERGE's training eps does: accuracy and transferability against it (DVERGE, Table 3 and Figure 6)."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.reporting.figures.curves import draw_line, label, new_figure
from robustbench_ens.reporting.style import RC, Look

QUANTITIES = {
    "clean": ("clean", (0, ())),
    "blackbox": ("black-box", (0, (5, 1.5))),
    "whitebox": ("white-box", (0, (1.2, 1.2))),
    "transferability": ("transferability", (0, (6, 1.5, 1.2, 1.5))),
}
_MARKERS = "os^Dv"


def training_eps_curve(rates: pd.DataFrame, look: Look, title: str) -> Figure:
    """One line per quantity (line style) and number of sub-models (marker), in percent; bars: std over seeds.

    Args:
        rates: ``train_eps``, ``sub_models``, ``quantity`` (a key of ``QUANTITIES``), ``seed``, ``rate``.
        look: of the method.
        title: of the figure.
    """
    sizes = sorted(rates["sub_models"].unique())
    with mpl.rc_context(RC | {"legend.handlelength": 4}):  # long enough to tell dashes from dashes and dots
        groups = rates.groupby(["quantity", "sub_models"], observed=True).ngroups
        figure, axes = new_figure(groups)
        for quantity, (name, line) in QUANTITIES.items():
            for size, own in rates[rates["quantity"] == quantity].groupby("sub_models", observed=True):
                by_eps = 100 * own.groupby("train_eps")["rate"].agg(["mean", "std"])
                std = by_eps["std"] if by_eps["std"].notna().all() else None
                own_look = replace(look, line=line, marker=_MARKERS[sizes.index(size) % len(_MARKERS)], fill="full")
                draw_line(axes, by_eps.index, by_eps["mean"], std, own_look, f"{name}, {size} sub-models")
        ladder = sorted(rates["train_eps"].unique())
        axes.set_xticks(ladder, [f"{eps:g}" for eps in ladder])
        axes.set(xlabel="training eps", ylabel="%", ylim=(-3, 103))
        label(figure, axes, title)
    return figure
