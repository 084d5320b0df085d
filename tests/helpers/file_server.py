"""A web server on this machine that gives files, or fails as asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

# Nothing listens on this port.
DEAD = "http://127.0.0.1:9"


class Answer(NamedTuple):
    """What the server answers to a path.

    Attributes:
        content: the body.
        status: of HTTP.
        length: what it says that the body's length is; None says the truth.
    """

    content: bytes
    status: int = 200
    length: int | None = None


class FileServer(NamedTuple):
    """A server that runs.

    Attributes:
        address: `http://127.0.0.1:PORT`.
        answers: path → answer; it may be changed while the server runs.
        requested: the paths that were asked for, in order.
    """

    address: str
    answers: dict[str, Answer]
    requested: list[str]


@contextmanager
def serving() -> Iterator[FileServer]:
    """Run a server until the context is left."""
    answers: dict[str, Answer] = {}
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            answer = answers.get(self.path, Answer(b"<html>not found</html>", 404))
            self.send_response(answer.status)
            length = len(answer.content) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield FileServer(f"http://127.0.0.1:{server.server_port}", answers, requested)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
