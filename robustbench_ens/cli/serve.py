"""`rbe report --serve`: a local web server for a report that is remade as outcomes arrive."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from robustbench_ens.core.files import visible_files
from robustbench_ens.errors import UserError

HOST = "127.0.0.1"
EVENTS = "/changes"
POLL_S = 1.0
"""Seconds between two checks of the outcomes. Changed files are read once they are stable for as long."""

_PING_S = 10.0  # seconds between tests of an idle connection
_VERSION = re.compile("[0-9]{1,9}")
_PAGES = re.compile(r"/(?:index|(?:ensembles|details)/[a-z0-9-]{1,80})\.html")
_RELOAD = (
    f'"use strict";new EventSource("{EVENTS}?" + document.currentScript.dataset.version)'
    ".onmessage = () => location.reload();"
)
_DIGEST = base64.b64encode(hashlib.sha256(_RELOAD.encode()).digest()).decode()

Seen = tuple[tuple[str, int, int], ...]
"""The path, time of change and size of outcome files."""


class ReportServer(ThreadingHTTPServer):
    """A server of the pages of a report to browsers on this machine, which reloads changed pages.

    Attributes:
        folder: folder of the report.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"--port {port}: expected a free port, got: {reason}; name another one, or 0") from None
        self.folder = folder
        self._changed = threading.Condition()
        self._version = 0
        self._open = True

    @property
    def address(self) -> str:
        """The address of the front page."""
        return f"http://{HOST}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """The names in requests from this machine. Others come from foreign pages (DNS rebinding) and are refused."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    def announce(self) -> None:
        """Make open pages reload."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def wait(self, version: int) -> int | None:
        """Return the report's number after ``version``, the same after a timeout, or None when the server ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or not self._open, _PING_S)
            return self._version if self._open else None

    @property
    def version(self) -> int:
        """The number of times that the report was remade."""
        with self._changed:
            return self._version

    def end(self) -> None:
        """Stop serving."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        """Answer with a page, or with a stream of changes."""
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(421, "expected a browser on this machine")
            return
        path, query = urlsplit(self.path)[2:4]
        if path == EVENTS:
            self._stream(query)
            return
        page = "/index.html" if path == "/" else path
        if not _PAGES.fullmatch(page):
            self.send_error(404)
            return
        version = self.server.version  # before the page is read, so that a change meanwhile reloads it
        text = self._read(page[1:])
        if text is None:
            self.send_error(404)
            return
        self._send(reloading(text, version).encode())

    def _read(self, page: str) -> str | None:
        """Return a page of the report, or None if it is missing or a link leads out of the folder."""
        folder = self.server.folder.resolve()
        try:
            path = (folder / page).resolve()
            return path.read_text(encoding="utf-8") if path.is_relative_to(folder) else None
        except OSError:
            return None

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, shown: str) -> None:
        """Send a line for each change, and an empty comment now and then, which fails if the page was closed.

        Args:
            shown: the number of the report that the page shows, so that earlier changes are not missed.
        """
        version = int(shown) if _VERSION.fullmatch(shown) else self.server.version
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            while (now := self.server.wait(version)) is not None:
                self.wfile.write(b"data: changed\n\n" if now != version else b":\n\n")
                self.wfile.flush()
                version = now
        except OSError:
            return  # the page was closed

    def log_message(self, *_: object) -> None:
        """Print no requests."""


def reloading(page: str, version: int) -> str:
    """Return a page with a script that reloads it, allowed by its content security policy.

    Args:
        page: the page as it is on disk.
        version: the number of the report.
    """
    allowed = page.replace("script-src '", f"connect-src 'self'; script-src 'sha256-{_DIGEST}' '", 1)
    return allowed.replace("</body>", f'<script data-version="{version}">{_RELOAD}</script>\n</body>', 1)


def seen(sources: list[Path]) -> Seen:
    """Return the files below ``sources``, by path, time of change and size."""
    files = [path for source in sources for path in (visible_files(source, "") if source.is_dir() else [source])]
    found = []
    for path in sorted(set(files)):
        try:
            facts = path.stat()
        except OSError:
            continue  # replaced just now
        found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(found)


def watch(look: Callable[[], Seen], made: Seen, make: Callable[[], None], pause: Callable[[], None]) -> None:
    """Call ``make`` whenever the result of ``look`` has changed and then stayed the same for a pause.

    Args:
        look: returns the state of the files, as :func:`seen`.
        made: its result before the last report was made.
        make: remakes the report.
        pause: waits. It raises an error to end this function, which never returns.
    """
    last = made
    while True:
        pause()
        now = look()
        if now == last and now != made:
            made = now
            make()
        last = now


def serve(
    server: ReportServer, sources: list[Path], made: Seen, make: Callable[[], None], say: Callable[[str], None]
) -> None:
    """Serve a report until Ctrl-C, and remake it when outcomes change.

    Args:
        server: the server of the report, which exists.
        sources: files and folders of outcomes.
        made: the outcomes that the report was made from.
        make: remakes the report. After a ``UserError``, which is printed, the last pages stay.
        say: prints a line.
    """
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"Serving {server.address} until Ctrl-C; pages reload as outcomes arrive.")

    def again() -> None:
        try:
            make()
        except UserError as error:
            say(f"{error}; the last report stays")
            return
        server.announce()

    try:
        watch(lambda: seen(sources), made, again, lambda: time.sleep(POLL_S))
    except KeyboardInterrupt:
        say("Stopped serving.")
    finally:
        server.end()


def open_browser(server: ReportServer) -> None:
    """Open the front page, if this is a terminal on a machine with a screen."""
    screen = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if screen and sys.stdout.isatty():
        webbrowser.open(server.address)
