"""The device that a command computes on."""

from __future__ import annotations

from robustbench_ens.errors import UserError


def device_of(name: str) -> str:
    """Return the device that ``name`` stands for, as ``cpu`` or ``cuda:N``.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for the first GPU if there is one, else the CPU.

    Raises:
        UserError: the device is not available.
    """
    if name == "cpu":
        return name
    import torch  # here, because the command line parses options without it

    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return "cpu" if len(available) == 1 else "cuda:0"
    if name == "cuda" and len(available) > 1:
        return "cuda:0"
    if name not in available:
        raise UserError(f"--device: expected auto or one of {', '.join(available)}, got {name!r}")
    return name
