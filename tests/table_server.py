"""A table on the loopback that answers, or fails to, as a test says."""

import json
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from handler.aws import Credentials, Endpoint
from handler.stores.dynamodb import DynamoDB, Patience

SOON = Patience(throttled=0.002, failed=0.001, longest=0.01)
"""The real number of attempts, without the waiting."""


@dataclass(frozen=True)
class Key:
    access_key: str = "testing"
    secret_key: str = "testing"
    token: str | None = None


@dataclass(frozen=True)
class Reply:
    """An answer, whole or cut off; ``raw`` is sent in place of all the rest, and the connection closed."""

    status: int = 200
    document: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    closes: bool = False


def refuse(code: str, status: int = 400) -> Reply:
    return Reply(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"})


HANG_UP = Reply(raw=b"")
OK = Reply()


@dataclass
class Table:
    """What was asked of it, and where it is."""

    respond: Callable[[str], Reply]
    url: str = ""
    calls: int = 0
    at_once: int = 0
    most_at_once: int = 0
    connections: int = 0
    heads: list[dict[str, str]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, patience: Patience = SOON, read_credentials: Callable[[], Credentials] = Key) -> DynamoDB:
        return DynamoDB(Endpoint(self.url, "us-east-1", read_credentials), patience)

    def answer(self, head: dict[str, str], body: bytes) -> Reply:
        order = json.loads(body)
        with self.lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.heads.append(head)
            self.orders.append(order)
        try:
            return self.respond(order["Item"]["machine_id"]["S"])
        finally:
            with self.lock:
                self.at_once -= 1


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    table: Table

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are wanted."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.table.lock:
            self.server.table.connections += 1

    def do_POST(self) -> None:
        head = {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
        reply = self.server.table.answer(head, self.rfile.read(int(self.headers["Content-Length"])))
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        body = json.dumps(reply.document).encode()
        self.send_response(reply.status)
        for name, value in {"x-amz-crc32": str(zlib.crc32(body)), **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if reply.closes:  # without a word of it
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(respond: Callable[[str], Reply], tls: ssl.SSLContext | None = None) -> Iterator[Table]:
    """Answer each put with what ``respond`` makes of its machine."""
    table = Table(respond)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.table = table
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        table.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield table
        finally:
            server.shutdown()
            thread.join()
