"""The choice of an ensemble's weights: those of the run directory if they match, else published ones if they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_ens.core.files import entries
from robustbench_ens.core.notices import notice
from robustbench_ens.core.store import Store
from robustbench_ens.data.names import BUILTIN_NAMES
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.weights.changed import since_trained
from robustbench_ens.weights.origin import IMPORTED, PUBLISHED, TRAINED, Origin
from robustbench_ens.weights.published import published
from robustbench_ens.weights.record import EnsembleRecord, answering, check_weights, fingerprint, read_record, run_dir
from robustbench_ens.weights.run import TrainingRun

if TYPE_CHECKING:
    from robustbench_ens.data import Dataset
    from robustbench_ens.models.ensemble import Ensemble


class Library:
    """The weights that are available, and the rule by which every command and ``load_ensemble`` choose among them.

    Weights of the run directory match if they were trained by the current recipe, on the current images of its dataset,
    from the current weights of its parent. Imported weights always match. Published weights match if they were trained
    on the images that the dataset has here. If the dataset is not available locally, nothing is compared.

    Args:
        store: the run directory.
        dataset: loads a dataset by its name and the most pixels of an image.
        published: whether published weights may be used.
    """

    def __init__(self, store: Store, dataset: Callable[[str, int], Dataset], published: bool = True) -> None:
        self._store = store
        self._dataset = dataset
        self._published = published
        self.here: set[tuple[str, int]] = set()
        """Keys of ensembles that must be trained here, without published weights."""

    def own(self, ensemble: TrainingRun) -> Path:
        """Return the folder of the run directory for an ensemble. It need not exist."""
        return run_dir(self._store, ensemble.recipe, ensemble.seed)

    def home(self, ensemble: TrainingRun) -> Path:
        """Return the folder where an ensemble is, or will be.

        Raises:
            UserError: weights that were trained here are damaged. They are never replaced by others.
        """
        own = self.own(ensemble)
        if not self._published or ensemble.key in self.here:
            return own
        try:
            matches = self._own_record(ensemble) is not None
        except MissingDatasetError:
            matches = True
        return own if matches else self.published_home(ensemble) or own

    def published_home(self, ensemble: TrainingRun) -> Path | None:
        """Return the folder of an ensemble's published weights, or none if none match."""
        folder = published(ensemble.recipe).get(ensemble.seed)
        record = read_record(folder) if folder else None
        if record is None or record.dataset in BUILTIN_NAMES:
            return folder
        try:
            dataset = self._dataset(record.dataset, ensemble.max_pixels)
        except MissingDatasetError:
            return folder  # the step that needs the images reports that they are missing
        return folder if dataset.digest == record.data_digest else None

    def is_published(self, ensemble: TrainingRun) -> bool:
        """Return whether published weights are used."""
        return self.home(ensemble) != self.own(ensemble)

    def is_published_on_other_images(self, ensemble: TrainingRun) -> bool:
        """Return whether published weights exist but do not match, because the dataset has other images here."""
        return ensemble.seed in published(ensemble.recipe) and self.published_home(ensemble) is None

    def record(self, ensemble: TrainingRun) -> EnsembleRecord | None:
        """Return the record of the weights that are used, or none.

        Raises:
            UserError: the record or the weights are damaged, or the dataset is missing.
        """
        record = self._trained_record(ensemble.trained)
        return None if record is None else answering(record, ensemble.recipe)

    def _trained_record(self, ensemble: TrainingRun) -> EnsembleRecord | None:
        folder = self.home(ensemble)
        if folder == self.own(ensemble):
            return self._own_record(ensemble)
        record = read_record(folder)
        if record is not None:
            check_weights(folder, record, ensemble.recipe)
        return record

    def _own_record(self, ensemble: TrainingRun) -> EnsembleRecord | None:
        """Return the record in the run directory if the weights there match, or none."""
        folder = self.own(ensemble)
        record = read_record(folder)
        if record is None:
            return None
        check_weights(folder, record, ensemble.recipe)
        if record.training is None:
            return record
        digest = record.data_digest
        if record.dataset not in BUILTIN_NAMES:
            digest = self._dataset(record.dataset, ensemble.max_pixels).digest
        expected = (fingerprint(ensemble.recipe, ensemble.seed, digest, start) for start in self._starts(ensemble))
        return record if record.fingerprint in expected else None

    def _starts(self, ensemble: TrainingRun) -> list[EnsembleRecord | None]:
        """Return the records that ``ensemble`` may have started from: its parent's here, and the published one."""
        parent = ensemble.parent
        if parent is None:
            return [None]
        folder = self.published_home(parent)
        found = (self.record(parent), read_record(folder) if folder else None)
        return [record for record in found if record is not None]

    def origin(self, ensemble: TrainingRun) -> Origin:
        """Return the origin of the weights that are used."""
        folder = self.home(ensemble)
        if folder != self.own(ensemble):
            return Origin(PUBLISHED, folder)
        record = read_record(folder)
        return Origin(IMPORTED if record is not None and record.training is None else TRAINED, folder)

    def instead_of(self, ensemble: TrainingRun) -> str:
        """Return a description of the local weights that published ones replace.

        The text is empty if there are no local files, or if published weights are not used.
        """
        own = self.own(ensemble)
        if not self.is_published(ensemble) or not entries(own):
            return ""
        if read_record(own) is None:
            return f"the training in {own} is not finished"
        return f"what was trained in {own} is of other images, or started from other weights"

    def load(self, ensemble: TrainingRun) -> Ensemble:
        """Load the weights that are used, with their record and origin as attributes.

        Raises:
            UserError: there are no weights, or they are damaged.
        """
        from robustbench_ens.weights.trained import load_answering  # imports torch

        origin = self.origin(ensemble)
        if read_record(origin.folder) is None:
            why = since_trained(self._store, ensemble.recipe, ensemble.seed)
            if why is not None:
                label = ensemble.recipe.label
                raise UserError(f"{origin.folder}: no trained ensemble here: {why}; run `rbe train {label}`")
        if instead := self.instead_of(ensemble):
            notice(f"{ensemble.id}: published weights, from {origin.folder}, for {instead}")
        loaded = load_answering(origin.folder, ensemble.recipe)
        loaded.origin = origin
        return loaded
