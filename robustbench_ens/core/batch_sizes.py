"""Batch sizes that fitted in memory or were measured, kept in the run directory for later commands.

::

    runs/batch-sizes/<hash of what is computed>/fitted-16.json

Each size has its own file, which is never changed, and the smallest counts. Processes that write at the same time
therefore need no lock, and the smaller of their sizes wins. Without the folder, sizes are determined again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustbench_ens.core.files import entries
from robustbench_ens.core.notices import notice
from robustbench_ens.core.store import read_document, short_hash, write_json
from robustbench_ens.errors import UserError

FOLDER = "batch-sizes"

How = Literal["fitted", "measured"]
"""``fitted``: memory ran out above this size. ``measured``: this many images fill a GPU's memory."""


@dataclass(frozen=True)
class KeptSizes:
    """The kept sizes of one computation.

    Attributes:
        folder: the folder of their files.
        computed: the network, the images, the device and the work.
    """

    folder: Path
    computed: Mapping[str, str]

    def smallest(self, how: How) -> int | None:
        """Return the smallest kept size, or none. Unreadable and foreign files are ignored with a notice."""
        sizes = [self._size(path, how) for path in self._files(how)]
        return min((size for size in sizes if size is not None), default=None)

    def keep(self, how: How, size: int) -> None:
        """Keep a size. If it cannot be written, as on a full disk, later commands determine it again."""
        content = {"format": 1, "how": how, "size": size, **self.computed}
        path = self.folder / f"{how}-{size}.json"
        try:
            write_json(path, content)
        except OSError as error:
            notice(f"{path}: could not keep the batch size {size}; later commands find it again ({error.strerror})")

    def _files(self, how: How) -> list[Path]:
        try:
            return [path for path in entries(self.folder) if path.match(f"{how}-*.json")]
        except OSError as error:
            notice(f"{self.folder}: expected a readable folder of batch sizes; ignored ({error.strerror})")
            return []

    def _size(self, path: Path, how: How) -> int | None:
        """Return the size in a file, or none with a notice."""
        try:
            found: Any = read_document(path).content
        except (UserError, OSError) as error:
            if path.exists():  # otherwise another process has just removed it
                notice(f"{error}; ignored, and may be deleted")
            return None
        size = found.get("size") if isinstance(found, dict) else None
        valid = isinstance(size, int) and not isinstance(size, bool) and size >= 1  # JSON's true is an int in Python
        if not valid or found != {"format": 1, "how": how, "size": size, **self.computed}:
            notice(f"{path}: expected a batch size of the work its folder is named after; ignored, and may be deleted")
            return None
        return size


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that a run directory keeps for one size of images on one device.

    Attributes:
        root: the run directory.
        images: channels, height and width, and the dtype.
        device: its name.
    """

    root: Path
    images: str
    device: str

    def of(self, network: str, work: str) -> KeptSizes:
        """Return the sizes of one computation.

        Args:
            network: the digest of its architecture (:func:`~robustbench_ens.models.architecture.architecture`).
            work: a description of the computation.
        """
        computed = {"network": network, "images": self.images, "device": self.device, "work": work}
        return KeptSizes(self.root / FOLDER / short_hash(computed), computed)
