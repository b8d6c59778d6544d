"""The command line, `rbe`."""

from robustbench_ens.cli.app import main

__all__ = ["main"]
