"""The bucket is reached as the environment says: through a proxy, and by certificates that it trusts."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handler.definitions.errors import LakeError
from handler.lake.lake import Lake
from tests.harness import Aws

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
def serving(
    certificate: Path | None = None, *, handler: type[_Bucket] | None = None
) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = handler or type("Bucket", (_Bucket,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def test_last_bytes_of_an_empty_object_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers with an error to whoever asks for them; a file that was emptied is to be found and built again."""

    def answer(self: _Bucket) -> None:
        has_range = "Range" in self.headers
        body = b"<Error><Code>InvalidRange</Code></Error>" if has_range else b""
        self.send_response(416 if has_range else 200)
        headers = {"Content-Length": str(len(body)), "ETag": '"x"', "Last-Modified": "Wed, 15 Oct 2025 09:00:00 GMT"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(_Bucket, "do_GET", answer)
    with serving() as (port, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        assert list(Lake.open("lake").read_tails(["processed/empty"])) == [b""]


def test_empty_object_of_a_bucket_is_read(aws: Aws) -> None:
    lake = Lake.open("lake", endpoint=aws.endpoint)
    lake.write({"processed/empty": b"", "processed/short": b"12"})
    assert list(lake.read_tails(["processed/empty", "processed/short"])) == [b"", b"12"]


def test_proxy_is_asked_for_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://far-away.invalid")
        assert not Lake.open("lake").has_raw_objects()
    assert asked
    assert all(path.startswith("http://far-away.invalid/lake?") for path in asked)


def test_bucket_is_trusted_by_the_bundle_of_certificates_and_by_nothing_else(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    with serving(certificate) as (port, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://localhost:{port}")
        with pytest.raises(LakeError, match="AWS_CA_BUNDLE"):
            Lake.open("lake", max_retries=0).has_raw_objects()
        assert asked == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert not Lake.open("lake").has_raw_objects()
    assert asked


class _TakingBucket(_Bucket):
    """A bucket that takes objects, whole and in parts; it notes what each request carries."""

    carried: list[tuple[str, dict[str, str]]]

    def do_PUT(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        tag = "InitiateMultipartUploadResult" if "uploads" in self.path else "CompleteMultipartUploadResult"
        self._answer(f"<{tag}><UploadId>one</UploadId><ETag>a</ETag></{tag}>".encode())

    def _answer(self, body: bytes) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.carried.append((self.command, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("megabytes", [1, 12], ids=["whole", "in parts"])
def test_what_is_written_carries_a_checksum_and_asks_for_encryption(
    monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    """As the module sets the environment: a bucket with Object Lock wants the one, a policy may want the other."""
    monkeypatch.setenv("AWS_CHECKSUM_ALGORITHM", "sha256")
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    monkeypatch.setenv("AWS_SSE_KMS_KEY_ID", "arn:aws:kms:us-east-1:123456789012:key/one")
    carried: list[tuple[str, dict[str, str]]] = []
    handler = type("TakingBucket", (_TakingBucket,), {"asked": [], "carried": carried})
    with serving(handler=handler) as (port, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        Lake.open("lake").write({"processed/one": bytes(megabytes * 2**20)})
    puts = [headers for method, headers in carried if method == "PUT"]
    assert len(puts) == (1 if megabytes == 1 else 3)
    assert all("x-amz-checksum-sha256" in headers for headers in puts)
    begun = carried[0][1]
    assert begun["x-amz-server-side-encryption"] == "aws:kms"
    assert begun["x-amz-server-side-encryption-aws-kms-key-id"].endswith("key/one")
