"""A service on this computer's own address that answers as a test tells it to: rightly, wrongly or not at all."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from requests.structures import CaseInsensitiveDict

CANARY = "sk-canary-0123456789abcdef"


@dataclass
class Asked:
    method: str
    path: str
    headers: CaseInsensitiveDict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Response:
    """What is sent: ``body`` as JSON unless it is bytes. ``fault``: "hang", "cut" (half a body) or "chunk" (half a
    chunked body)."""

    body: object = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    fault: str | None = None


class Loopback:
    """``answer(asked, number)`` gives the response to request ``number``, counted from 0; requests are kept."""

    def __init__(self, answer):
        self.asked = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                outer.handle(self, answer)

            def do_POST(self):
                outer.handle(self, answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def handle(self, handler, answer):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if handler.headers.get("Transfer-Encoding") == "chunked":
            while size := int(handler.rfile.readline(), 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
        asked = Asked(handler.command, handler.path, CaseInsensitiveDict(handler.headers), body)
        with self._lock:
            number = len(self.asked)
            self.asked.append(asked)
        self._send(handler, answer(asked, number))

    def _send(self, handler, response):
        if response.fault == "hang":
            self._closing.wait()
            handler.close_connection = True
            return
        body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
        handler.send_response(response.status)
        for name, value in ({"Content-Type": "application/json"} | response.headers).items():
            handler.send_header(name, value)
        if response.fault == "chunk":
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"10\r\n" + body[:16] + b"\r\n")
            handler.close_connection = True
            return
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if response.fault == "cut" else body)
        handler.close_connection = response.fault == "cut"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
