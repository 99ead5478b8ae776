"""The bucket is reached as the environment says: through a proxy, and with certificates of one's own."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handler.definitions.errors import LakeError
from handler.lake.lake import Lake

EMPTY = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name><KeyCount>0</KeyCount>
<IsTruncated>false</IsTruncated></ListBucketResult>"""


class _Bucket(BaseHTTPRequestHandler):
    """An empty bucket, or a proxy that answers for one; it notes what is asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(EMPTY)))
        self.end_headers()
        self.wfile.write(EMPTY)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = type("Bucket", (_Bucket,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def test_proxy_is_asked_for_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://far-away.invalid")
        assert not Lake.open("lake").has_raw_objects()
    assert asked
    assert all(path.startswith("http://far-away.invalid/lake?") for path in asked)


def test_certificates_of_the_bundle_are_trusted_and_no_others(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with serving(context) as (port, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://localhost:{port}")
        with pytest.raises(LakeError, match="does not answer"):
            Lake.open("lake", max_retries=0).has_raw_objects()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert not Lake.open("lake", max_retries=0).has_raw_objects()
    assert len(asked) == 1
