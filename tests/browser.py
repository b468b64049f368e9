"""A page in headless Chromium: what it looks like to its own script, what it complained of, what it asked for."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 400  # milliseconds that a page gets to draw
# Written into a copy of the page: looks at it, presses a key and a button, looks again. Frames are drawn at once, since
# the browser's own clock for them does not follow the virtual time that the command asks for.
PROBE = """
<script>
window.requestAnimationFrame = (draw) => setTimeout(draw, 0);
addEventListener("load", () => {
  const boxes = [...document.querySelectorAll(".mesh-viewer")];
  const box = boxes.find((one) => one.querySelectorAll("button").length > 1), canvas = box.querySelector("canvas");
  const look = () => canvas.toDataURL();
  const found = {
    images: [...document.images].map((image) => image.complete ? image.naturalWidth : 0),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    asked: performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !/^data:/.test(name)),
    drawn: Number(box.dataset.drawn), size: canvas.width * canvas.height,
  };
  const first = look();
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  setTimeout(() => {
    const second = look();
    box.querySelectorAll("button")[1].click();
    setTimeout(() => {
      found.turned = second !== first;
      found.switched = look() !== second && box.querySelectorAll("button")[1].ariaPressed === "true";
      document.body.insertAdjacentHTML("beforeend", "<pre id=probe></pre>");
      document.getElementById("probe").textContent = JSON.stringify(found);
    }, WAIT);
  }, WAIT);
});
</script>
""".replace("WAIT", str(WAIT))


def find_browser() -> str:
    """The browser's path; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser here ({', '.join(NAMES)}): the report page is not opened")
    return found


@contextmanager
def served(server: HTTPServer) -> Iterator[str]:
    """The address of a server on this machine, which ends with the block."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look_at(page: Path, folder: Path, width: int) -> tuple[dict[str, Any], list[str]]:
    """What the probe found in a window of `width` pixels, and the lines of the console."""
    copy = folder / f"probed_{width}.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},1200"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--enable-logging=stderr", f"--virtual-time-budget={20 * WAIT}", "--dump-dom", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    told = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    return json.loads(html.unescape(told.group(1))), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
