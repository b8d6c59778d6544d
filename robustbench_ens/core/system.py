"""The operating system's locks on files, which the package needs besides Python itself."""

from __future__ import annotations

import platform

from robustbench_ens.errors import UnsupportedSystemError

try:
    import fcntl
except ImportError:
    raise UnsupportedSystemError(
        f"robustbench_ens: expected Linux or macOS, got {platform.system() or 'an unknown system'}, "
        "which lacks the locks that protect results; on Windows, use WSL, the Windows Subsystem for Linux"
    ) from None

__all__ = ["fcntl"]
