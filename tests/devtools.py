"""A page in headless Chromium that a test talks with: over the two pipes of --remote-debugging-pipe, in JSON."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.browser import find_browser

FLAGS = ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
         "--enable-unsafe-swiftshader", "--window-size=1000,1000")  # fmt: skip


class Page:
    """A tab of a browser of its own. `asked`: the addresses it has requested; `complaints`: errors and warnings."""

    def __init__(self, address: str, profile: Path, *flags: str) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [
            find_browser(),
            *FLAGS,
            *flags,
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        # The browser reads its file 3 and writes its file 4, which the shell gives it.
        script = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, *command], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        for end in (to_browser, from_browser):
            os.close(end)
        self._buffer, self._number = b"", 0
        self._session: str | None = None
        self.asked: list[str] = []
        self.complaints: list[str] = []
        (target,) = (t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.send(f"{domain}.enable")
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        self.send("Page.navigate", url=address)

    def send(self, method: str, timeout: float = 60.0, **params: Any) -> dict[str, Any]:
        """A command's result; what else the browser tells in the meantime is noted."""
        number, until = self._post(method, self._session, params), time.monotonic() + timeout
        while True:
            answer = self._next(until - time.monotonic())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _post(self, method: str, session: str | None, params: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self, timeout: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if timeout <= 0 or not select.select([self._read], [], [], timeout)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise ConnectionError("the browser has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif event.get("method") == "Target.attachedToTarget":  # a worker's requests are told apart
            self._post("Network.enable", params["sessionId"], {})

    def ask(self, expression: str, timeout: float = 60.0) -> Any:
        """The value of JavaScript that is run in the page; a promise is awaited."""
        found = self.send(
            "Runtime.evaluate", timeout, expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, timeout: float = 60.0) -> None:
        """Until a JavaScript expression is true."""
        until = time.monotonic() + timeout
        while not self.ask(condition):
            if time.monotonic() > until:
                raise TimeoutError(f"{condition}: {self.ask('document.body.innerText')} {self.complaints}")
            time.sleep(0.1)

    def choose_file(self, selector: str, path: Path) -> None:
        """As a user picks a file."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def drag(self, *points: tuple[float, float]) -> None:
        """Presses the mouse at the first point, moves it over the others, and lets go at the last."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, path: Path) -> None:
        """As PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(30)
        for end in (self._write, self._read):
            os.close(end)
