"""Serves this folder to the browser of this machine: python serve.py [PORT].

Unlike `python -m http.server` it sends the two headers that isolate the page, without which WASM has one thread.
"""

import functools
import http.server
import sys
from pathlib import Path

PORT = 8000
HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the folder, with the headers."""

    extensions_map = {  # noqa: RUF012 - the system's table of types, which the base class reads, may lack these
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Adds them to every answer."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()


def server(folder: str, port: int = PORT) -> http.server.ThreadingHTTPServer:
    """A server of `folder` for this machine alone."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=folder))


if __name__ == "__main__":
    serving = server(str(Path(__file__).parent), int(sys.argv[1]) if len(sys.argv) > 1 else PORT)
    print(f"http://127.0.0.1:{serving.server_port}", flush=True)  # noqa: T201
    serving.serve_forever()
