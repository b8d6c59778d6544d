"""An adversarial-robustness benchmark for ensembles of image classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_ens.models.ensemble import Ensemble

__version__ = "0.1.0"


def load_ensemble(reference: str, seed: int = 0, runs: Path | str = "runs") -> Ensemble:
    """A trained ensemble as a plain ``nn.Module`` in eval mode, on the CPU.

    It maps images ``(B, C, H, W)`` in [0, 1] to log-probabilities ``(B, classes)``: normalisation is inside, and the
    sub-models are its ``members``.

    Args:
        reference: a recipe by name or path, with overrides in brackets: ``digits/dverge-3[epochs=5]``.
        seed: of the training.
        runs: the run directory.

    Raises:
        robustbench_ens.errors.UserError: unknown recipe; not trained with this seed; damaged or foreign weights.
    """
    from robustbench_ens.models.trained import load_trained, run_dir
    from robustbench_ens.recipes import load_recipe
    from robustbench_ens.store import Store

    recipe = load_recipe(reference)
    return load_trained(run_dir(Store(Path(runs)), recipe, seed), recipe)[0]
