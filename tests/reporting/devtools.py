"""Headless Chromium, driven over the DevTools protocol through a pair of pipes: no port, no library, no download."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60.0

# Chromium reads commands from descriptor 3 and answers on 4; those of this process may be taken.
_START = (
    "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One Chromium process; :meth:`open` gives tabs. Close it in the end."""

    def __init__(self, executable: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # The descriptors handed over must lie above 4, or one would overwrite the other.
        high = [os.dup(fd) for fd in (commands, answers)]
        while min(high) <= 4:
            high = [os.dup(fd) for fd in high]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, *map(str, high), executable, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=high,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (commands, answers, *high):
            os.close(fd)
        self._number = 0
        self._buffer = b""
        self.tabs: dict[str, Tab] = {}

    def close(self) -> None:
        self.call("Browser.close")
        self._process.wait(PATIENCE_S)
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Result of a command; events that come before it go to their tabs."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (answer := self.receive()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next message; an event has gone to its tab already."""
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], PATIENCE_S)[0]:
                raise TimeoutError(f"Chromium said nothing for {PATIENCE_S:g} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise EOFError("Chromium ended")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        if message.get("sessionId") in self.tabs:
            self.tabs[message["sessionId"]].events.append(message)
        return message

    def open(self, url: str, *, width: int = 1280, height: int = 900, scripts: bool = True) -> Tab:
        """A tab that has loaded ``url``."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self.tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call("Page.bringToFront")
        tab.resize(width, height)
        tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        tab.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in tab.events):
            self.receive()
        return tab


class Tab:
    """One page; ``events`` is everything that it reported."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser, self.target, self.session = browser, target, session
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **params)

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self.target)

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, kind: str = "", scheme: str = "light") -> None:
        """Emulate print or screen (or neither), and the reader's preferred colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=kind, features=features)

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception']['description']}")
        return answer["result"].get("value")

    def click(self, element: str) -> None:
        """Press the mouse in the middle of the element that a JavaScript expression gives."""
        x, y = self.place(element)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def place(self, element: str) -> tuple[float, float]:
        """Scroll an element into view; the middle of what is then there."""
        x, y = self.run(
            f"(async () => {{ const element = {element};"
            "element.scrollIntoView({block: 'center', behavior: 'instant'});"
            "for (const _ of [1, 2]) await new Promise(requestAnimationFrame);"  # a click hits what was last painted
            "const box = element.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2] })()"
        )
        return x, y

    def hover(self, element: str) -> None:
        """Move the mouse to the middle of the element that a JavaScript expression gives."""
        x, y = self.place(element)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def wait(self, expression: str) -> None:
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.02)

    def problems(self) -> list[dict[str, Any]]:
        """Errors and warnings of the console, exceptions, and dialogs, which only a foreign script would open."""
        kinds = (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        )
        return self._of(kinds)

    def requests(self) -> list[str]:
        """Addresses of everything that was loaded."""
        return [event["params"]["request"]["url"] for event in self._of(("Network.requestWillBeSent",))]

    def _of(self, methods: Sequence[str]) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") in methods]
