"""External models: imported from a user's code, and what they raise in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from robustbench_ens.config.outside import import_object
from robustbench_ens.core.memory import is_out_of_memory
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import seeded


def import_model(spec: str, where: str) -> nn.Module:
    """Import the module ``package.module:name``, or what that returns when it is called without arguments.

    It is called with PyTorch's generator seeded, so that weights it draws are the same each time.

    Raises:
        UserError: there is no such object, or what it gives is no ``nn.Module``.
    """
    found = import_object(spec, where)
    if isinstance(found, nn.Module):
        return found
    wanted = f"{where}: expected {spec!r} to be an nn.Module, or to return one when called without arguments, got"
    if not callable(found):
        raise UserError(f"{wanted} {type(found).__name__}")
    try:
        model: object = seeded(0, found)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's code raises whatever it likes
        raise UserError(f"{wanted} {failure(error)}") from None
    if not isinstance(model, nn.Module):
        raise UserError(f"{wanted} {type(model).__name__}")
    return model


def sub_models(model: nn.Module) -> list[nn.Module]:
    """Return the sub-models of ``model``: its ``members``, none if it is a single network.

    Raises:
        UserError: ``members`` is a plain list of modules, which ``.eval()`` and ``.to()`` do not reach.
    """
    members = getattr(model, "members", None)
    if isinstance(members, list | tuple) and any(isinstance(member, nn.Module) for member in members):
        raise UserError(
            f"{type(model).__name__}.members: expected an nn.ModuleList, got a {type(members).__name__}, which .eval() "
            "and .to() do not reach"
        )
    return list(members) if isinstance(members, nn.ModuleList) else []


@contextmanager
def blamed(where: str, what: str = "model") -> Iterator[None]:
    """Turn what a user's model, or other code, raises in the middle of its work into one line.

    Raises:
        UserError: anything but an error of the user's or of the machine's was raised.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a user's code raises whatever it likes
        if is_out_of_memory(error):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{where}: expected a {what} that works on every batch of images, got {failure(error)} ({last.filename}, "
            f"line {last.lineno})"
        ) from error


MOST_SAID = 400
"""Characters of an error that are repeated: TorchScript's print code, and end with what happened."""


def failure(error: BaseException) -> str:
    """Return the type and the text of ``error`` in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= MOST_SAID else f'... {text[-MOST_SAID:]}'}"
