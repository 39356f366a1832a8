"""A headless Chromium, driven by its own DevTools protocol: no driver program, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
WITHIN_S = 120
LIMIT_BYTES = 2**26  # of a message; a screenshot is one
KEYS = {" ": "Space", "Enter": "Enter", "Tab": "Tab"}


class Page:
    """The one tab. Whatever it complains of is kept in ``complaints``."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        """One command of the protocol, and its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=WITHIN_S))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            thrown = params["exceptionDetails"]
            self.complaints.append(thrown.get("exception", thrown).get("description", str(thrown)))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        """Go there, and wait until its scripts have run."""
        gone = self.call("Page.navigate", url=url)
        assert "errorText" not in gone, gone["errorText"]
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def look(self, width: int = 1280, height: int = 900) -> None:
        """Make the window that large."""
        size = {"width": width, "height": height}
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def ask(self, expression: str) -> Any:  # noqa: ANN401
        """The value of JavaScript; what it promises is waited for."""
        wish = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **wish)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until JavaScript is true."""
        end_s = time.monotonic() + WITHIN_S
        while not self.ask(condition):
            assert time.monotonic() < end_s, f"never: {condition}; {self.complaints}"
            time.sleep(0.02)

    def draw(self, selector: str, points: list[tuple[float, float]]) -> None:
        """One stroke of the mouse; points are shares of the element's width and height."""
        self.ask(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.ask(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1)]
        for kind, (x, y) in zip(kinds, points, strict=True):
            self._mouse(kind, box, x, y)
        self._mouse("mouseReleased", box, *points[-1])

    def _mouse(self, kind: str, box: dict[str, float], x: float, y: float) -> None:
        place = {"x": box["left"] + x * box["width"], "y": box["top"] + y * box["height"]}
        pressed = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1}
        self.call("Input.dispatchMouseEvent", type=kind, **place, **pressed, clickCount=1)

    def click(self, selector: str) -> None:
        """Press and let go, in the middle."""
        self.draw(selector, [(0.5, 0.5)])

    def press(self, *keys: str) -> None:
        """Keys one after the other, as ``KeyboardEvent.key`` names them."""
        for key in keys:
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 else {}
            if key == "Enter":
                text = {"text": "\r"}
            wish = {"key": key, "code": KEYS.get(key, key)}
            if key == "Tab":
                wish |= {"windowsVirtualKeyCode": 9}  # type: ignore[dict-item]
            self.call("Input.dispatchKeyEvent", type="keyDown", **wish, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **wish)

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input, as the dialog would."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        handle = found["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=handle)

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A browser with one empty tab; what it keeps is kept in ``folder``."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    with (
        (folder / "chromium.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            with connect(_tab(profile), max_size=LIMIT_BYTES, ping_interval=None) as connection:
                page = Page(connection)
                page.look()
                yield page
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # all of its processes: asked, some linger


def _tab(profile: Path) -> str:
    """The address of the first tab's protocol; the browser writes its port into a file."""
    told, end_s = profile / "DevToolsActivePort", time.monotonic() + WITHIN_S
    while True:
        if told.is_file() and len(lines := told.read_text().splitlines()) == 2:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list") as reply:
                tabs = [tab for tab in json.load(reply) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < end_s, "chromium told no port"
        time.sleep(0.05)
