"""The command line, `rbe`."""

from __future__ import annotations

import sys

from robustbench_ens.errors import UnsupportedSystemError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run `rbe` and exit with one of the codes of :mod:`robustbench_ens.cli.exits`.

    Nothing else is imported before the check of the system, so that an unsupported one gives one line, not a traceback.
    """
    try:
        from robustbench_ens.core import system  # noqa: F401
    except UnsupportedSystemError as error:
        print(f"rbe: error: {error}", file=sys.stderr)
        sys.exit(2)
    from robustbench_ens.cli import app

    app.main(arguments)
