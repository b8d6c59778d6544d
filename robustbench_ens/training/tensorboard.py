"""Training history for TensorBoard, where the optional extra is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robustbench_ens.errors import UserError


def epoch_writer(folder: Path) -> Callable[[dict[str, float]], None]:
    """Return a listener that writes each epoch's row of the history under ``folder/tensorboard``.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard: the optional extra is not installed; run `pip install 'robustbench_ens[tensorboard]'`"
        ) from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(row: dict[str, float]) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(f"train/{name}", value, int(row["step"]))
        writer.flush()

    return write
