"""The place where steps are carried out: run directory, data, device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_ens.core.limits import MAX_PIXELS
from robustbench_ens.core.progress import Progress, Silent
from robustbench_ens.core.store import Store
from robustbench_ens.weights.library import Library
from robustbench_ens.workflow.crew import Crew

if TYPE_CHECKING:
    from robustbench_ens.data import Dataset
    from robustbench_ens.evaluation.loaded_model import LoadedModel
    from robustbench_ens.training.trainer import EpochHook


@dataclass
class Workplace:
    """The place where a plan is carried out. It pickles without loaded data and without listeners.

    Attributes:
        store: the run directory.
        data_root: folder of datasets; None is the default one.
        device: where to compute.
        progress: receives the progress of the work.
        epoch_hook: makes a listener for each training's epochs, e.g. a TensorBoard writer.
        threads: CPU cores to use; None is all of them.
        batch_size: images attacked together; None is what fits the device.
        published: whether published weights are used if nothing was trained here.
        crew: the workers that carry the plan out.
        here: keys of training runs that never use published weights.
    """

    store: Store
    data_root: Path | None
    device: str
    progress: Progress
    epoch_hook: Callable[[Path], EpochHook] | None = None
    threads: int | None = None
    batch_size: int | None = None
    published: bool = False
    crew: Crew = field(default_factory=Crew)
    here: set[tuple[str, int]] = field(default_factory=set)
    _warned: set[str] = field(default_factory=set)
    _datasets: dict[tuple[str, int], Dataset] = field(default_factory=dict)
    loaded: dict[tuple[str, str], LoadedModel] = field(default_factory=dict)
    """Loaded ensembles by id and recipe hash, so that many attacks read each once."""

    @cached_property
    def library(self) -> Library:
        """The library that chooses between trained and published weights."""
        library = Library(self.store, self.dataset, self.published)
        library.here = self.here
        return library

    def dataset(self, name: str, max_pixels: int = MAX_PIXELS) -> Dataset:
        """Return a dataset with images of at most ``max_pixels``, which is loaded once."""
        from robustbench_ens.data import load_dataset  # imports torch

        key = (name, max_pixels)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(name, self.data_root, max_pixels=max_pixels)
        return self._datasets[key]

    def warn(self, line: str) -> None:
        """Print a warning, once however often it is repeated."""
        if line not in self._warned:
            self._warned.add(line)
            self.progress.message(f"warning: {line}")

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "library"}
        return state | {"progress": Silent(), "_warned": set(), "_datasets": {}, "loaded": {}}
