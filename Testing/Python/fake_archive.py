"""Servers that behave as real archives do on bad days: wrong answers, cut connections, own TLS."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass
class Answer:
    """An HTTP answer; a function gives pieces to be sent one by one, other bodies go as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def dicom_answer(content: bytes) -> Answer:
    """A single instance as WADO-RS sends it."""
    kind = 'multipart/related; type="application/dicom"; boundary=xyz'
    body = b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--xyz--"
    return Answer(body, headers={"Content-Type": kind})


@dataclass
class FakeArchive:
    """Where it listens, and what was asked: (method, path with query, headers)."""

    url: str
    asked: list[tuple[str, str, dict[str, str]]]


@contextlib.contextmanager
def serving(
    answer: Callable[[str, str], Answer], certificate: Path | None = None
) -> Iterator[FakeArchive]:
    """Serve ``answer(method, path)`` on loopback, over TLS with a certificate."""
    asked: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            asked.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answer(self.command, urlsplit(self.path).path)
            body = reply.body
            kind = "text/html"
            pieces = body() if callable(body) else None
            if pieces is not None:
                body, self.close_connection = b"", True
            elif not isinstance(body, bytes):
                body, kind = json.dumps(body).encode(), "application/dicom+json"
            self.send_response(reply.status)
            headers = {"Content-Type": kind, "Content-Length": str(len(body))} | reply.headers
            if pieces is not None:
                del headers["Content-Length"]
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for piece in pieces or [body]:
                    self.wfile.write(piece)

        do_GET = do_POST = _respond

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    scheme = "https" if certificate else "http"
    try:
        yield FakeArchive(f"{scheme}://127.0.0.1:{server.server_port}/dicom-web", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody else signed, and its key; skipped without openssl."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl, which makes a certificate for this test, is not installed")
    path, key = folder / "certificate.pem", folder / "key.pem"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@contextlib.contextmanager
def cutting(port: int, *, after: int, cuts: int) -> Iterator[tuple[int, list[int]]]:
    """A proxy to a loopback port that breaks off the first ``cuts`` answers above ``after`` bytes.

    Yields its own port and a list with an entry for each answer that it broke off.
    """
    done: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket, sent: list[int], back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(512):
                sent[0] = sent[0] + len(data) if back else 0
                if back and sent[0] > after and len(done) < cuts:
                    done.append(sent[0])
                    break
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                sent = [0]
                for ends in ((client, server, sent, False), (server, client, sent, True)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], done
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
