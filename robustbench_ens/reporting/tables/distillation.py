"""A table of the feature distances of distillation and the resulting diversity loss by eps, as Table 2 of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, number_mean_and_std, number_with_interval
from robustbench_ens.outcomes import ENSEMBLE

MEASURED = {
    "distillation/distance": "Feature distance, l2",
    "distillation/rms_distance": "… per feature",
    "distillation/relative_distance": "… of the source's",
    "distillation/loss": "Diversity loss, nats",
}
IMAGES = "distillation/images"
COLUMNS = ["Ensemble", "eps", "#steps", "Seed", "n", *MEASURED.values()]


def distillation_table(measurements: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble, eps and seed, and after several seeds a row with their mean and standard deviation.

    Args:
        measurements: rows of ``outcomes.gather_measurements`` of one protocol.

    Returns:
        the columns ``COLUMNS``, as text. The numbers are means over sub-models, or over pairs of them for the loss,
        each with its 95% interval over ``n`` images.
    """
    rows = []
    own = measurements[measurements["name"].str.startswith("distillation/")]
    own = own[(own["target_member"] == ENSEMBLE) & (own["source_member"] == ENSEMBLE)]
    for (ensemble, eps, steps), cell in own.groupby(["ensemble", "eps", "step"], observed=True):
        whole = cell.pivot(index="seed", columns="name", values="value").sort_index()
        for seed, numbers in whole.iterrows():
            texts = [number_with_interval(numbers[name], numbers.get(f"{name}/standard_error")) for name in MEASURED]
            rows.append((ensemble, f"{eps:g}", str(steps), str(seed), f"{numbers[IMAGES]:.0f}", *texts))
        if len(whole) > 1:
            texts = [number_mean_and_std(whole[name]) for name in MEASURED]
            rows.append((ensemble, f"{eps:g}", str(steps), MEAN_AND_STD, f"{len(whole)}{NBSP}seeds", *texts))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)
