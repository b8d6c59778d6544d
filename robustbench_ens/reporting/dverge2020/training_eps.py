"""What DVERGE's training eps does: accuracy and transferability against it (DVERGE, Table 3 and Figure 6)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd

from robustbench_ens.core.text import counted, mean_and_std, percent
from robustbench_ens.reporting.figures.axes import ladder_axis, percent_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, curves
from robustbench_ens.reporting.scene import Draw
from robustbench_ens.reporting.style import Look

QUANTITIES = {
    "clean": ("clean", (0, ())),
    "blackbox": ("black-box", (0, (5, 1.5))),
    "whitebox": ("white-box", (0, (1.2, 1.2))),
    "transferability": ("transferability", (0, (6, 1.5, 1.2, 1.5))),
}
_MARKERS = "os^Dv"


def training_eps_curve(rates: pd.DataFrame, look: Look, title: str) -> Draw:
    """Return what draws one line per quantity (dash) and number of sub-models (marker), in percent; bars are std.

    Args:
        rates: ``train_eps``, ``sub_models``, ``quantity`` (a key of ``QUANTITIES``), ``seed``, ``rate``.
        look: of the method.
        title: of the figure.
    """
    sizes = sorted(rates["sub_models"].unique())
    lines = []
    for quantity, (name, line) in QUANTITIES.items():
        for _, own in rates[rates["quantity"] == quantity].groupby("sub_models", observed=True):
            size = own["sub_models"].iloc[0]
            marker = _MARKERS[sizes.index(size) % len(_MARKERS)]
            called = f"{name}, {counted(int(size), 'sub-model')}"
            dots = [_dot(called, at) for _, at in own.groupby("train_eps")]
            lines.append(Curve(called, replace(look, line=line, marker=marker, fill="full"), dots))
    axes = (ladder_axis("training eps", rates["train_eps"]), percent_axis("%"))
    return partial(curves, lines, title, axes, None)


def _dot(name: str, rows: pd.DataFrame) -> Dot:
    rates = rows["rate"]
    eps = float(rows["train_eps"].iloc[0])
    several = len(rates) > 1
    told = f"{mean_and_std(rates)}, {counted(len(rates), 'seed')}" if several else percent(rates.iloc[0])
    tip = f"{name}, training eps {eps:g}: {told}"
    return Dot(eps, 100 * rates.mean(), tip, bar=100 * rates.std(ddof=1) if several else 0.0)
