"""External models: their import from a user's code, and their errors in one line."""

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
    """Import an ``nn.Module``, or a callable that returns one without arguments, as ``package.module:name``.

    PyTorch's generator is seeded before the call, so that random weights are the same each time.

    Raises:
        UserError: there is no such object, or it is not and does not return an ``nn.Module``.
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
    """Return the sub-models of ``model``, which are its ``members``, or an empty list for a single network.

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
    """Convert errors of a user's model, or of other code, inside this context into one line.

    Raises:
        UserError: any error was raised except a ``UserError``, an ``OSError`` or one for exhausted memory.
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
"""The most characters of an error that are quoted, from its end, since TorchScript's errors print code first."""


def failure(error: BaseException) -> str:
    """Return the type and the text of ``error`` in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= MOST_SAID else f'... {text[-MOST_SAID:]}'}"
