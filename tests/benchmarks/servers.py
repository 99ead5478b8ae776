"""Small stand-ins for S3 and DynamoDB on the loopback, each in a process of its own, with a latency a request.

They speak as much of the protocols as the benchmarks need: ListObjectsV2, GetObject, PutObject, and how many requests
there were; PutItem with the handler's condition, BatchWriteItem, GetItem, DescribeTable.
``python -m tests.benchmarks.servers s3 --lake DIR --latency 0.025`` prints its port.
"""

import argparse
import asyncio
import bisect
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "lake"
COUNT = "requests"
"""A bucket of this name is no bucket: it answers with the number of requests so far."""

_PAGE = 1000
_DATE = "Wed, 15 Oct 2025 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered to it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Response]


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; each answer is sent so many seconds after its request came in."""

    def __init__(self, answer: Answer, latency: float) -> None:
        self._answer = answer
        self._latency = latency
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._take_request()) is not None:
            asyncio.get_running_loop().call_later(self._latency, self._respond, request)

    def _take_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return None
        method, target, _ = first.split(" ", 2)
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        return Request(method, target, headers, body)

    def _respond(self, request: Request) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        response = self._answer(request)
        lines = [f"HTTP/1.1 {response.status} -", f"Content-Length: {len(response.body)}", "x-amzn-RequestId: 1"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + response.body)


class S3:
    """A bucket that serves the files of a folder, read once, and what is put."""

    def __init__(self, lake: Path) -> None:
        self._objects: dict[str, bytes] = {}
        self._tags: dict[str, str] = {}
        self._requests = 0
        for path in sorted(path for path in lake.rglob("*") if path.is_file()):
            self._put(path.relative_to(lake).as_posix(), path.read_bytes())
        self._keys = sorted(self._objects)

    def _put(self, key: str, data: bytes) -> Response:
        self._objects[key], self._tags[key] = data, f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        return Response(200, b"", {"ETag": self._tags[key]})

    def __call__(self, request: Request) -> Response:
        target = urlsplit(request.target)
        bucket, _, key = unquote(target.path).lstrip("/").partition("/")
        if bucket == COUNT:
            return _answer_json(200, self._requests)
        self._requests += 1
        if request.method == "PUT":
            response = self._put(key, request.body)
            self._keys = sorted(self._objects)
            return response
        if request.method != "GET" or bucket != BUCKET:
            return _fail_s3(405, "MethodNotAllowed")
        if not key:
            return self._list({name: values[0] for name, values in parse_qs(target.query).items()})
        if key not in self._objects:
            return _fail_s3(404, "NoSuchKey")
        return self._get(key, request.headers.get("range"))

    def _get(self, key: str, wanted: str | None) -> Response:
        data, headers = self._objects[key], {"ETag": self._tags[key], "Last-Modified": _DATE}
        if wanted is None:
            return Response(200, data, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last) + 1, len(data)) if first and last else len(data)
        return Response(206, data[start:end], headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    def _list(self, query: Mapping[str, str]) -> Response:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        page = min(int(query.get("max-keys", _PAGE)), _PAGE)
        after = query.get("continuation-token", query.get("start-after", ""))
        contents: list[str] = []
        prefixes: list[str] = []
        last = ""
        at = max(bisect.bisect_left(self._keys, prefix), bisect.bisect_right(self._keys, after))
        is_truncated = False
        for key in self._keys[at:]:
            if not key.startswith(prefix):
                break
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0 and (prefixes and prefixes[-1] == key[: end + 1]):
                last = key
                continue
            if len(contents) + len(prefixes) == page:
                is_truncated = True
                break
            last = key
            if end >= 0:
                prefixes.append(key[: end + 1])
            else:
                contents.append(key)
        parts = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-10-15T00:00:00.000Z</LastModified><ETag>"
            f"{escape(self._tags[key])}</ETag><Size>{len(self._objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in contents
        ]
        parts += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in prefixes]
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if is_truncated else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{page}</MaxKeys>"
            f"<KeyCount>{len(parts)}</KeyCount><IsTruncated>{str(is_truncated).lower()}</IsTruncated>{token}"
            f"{''.join(parts)}</ListBucketResult>"
        )
        return Response(200, text.encode(), {"Content-Type": "application/xml"})


def _fail_s3(status: int, code: str) -> Response:
    return Response(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())


class DynamoDB:
    """Tables with the key ``machine_id``, each made by the first put into it."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
        self._asked: set[str] = set()

    def __call__(self, request: Request) -> Response:
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        order = json.loads(request.body or b"{}")
        table = self._tables.setdefault(order.get("TableName", ""), {})
        if operation == "PutItem":
            return self._put(table, order)
        if operation == "BatchWriteItem":
            return self._put_batch(order)
        if operation == "BatchGetItem":
            return self._get_batch(order)
        if operation == "GetItem":
            item = table.get(order["Key"]["machine_id"]["S"])
            return _answer_json(200, {} if item is None else {"Item": item})
        if operation == "DescribeTable":
            return _answer_json(200, {"Table": {"ItemCount": len(table)}})
        return _answer_json(400, {"__type": "com.amazon.coral.service#UnknownOperationException"})

    def _put(self, table: dict[str, dict[str, dict[str, str]]], order: Mapping[str, object]) -> Response:
        item = order["Item"]
        assert isinstance(item, dict)
        old = table.get(item["machine_id"]["S"])
        condition = str(order.get("ConditionExpression", ""))
        if old is not None and condition:
            new_time, old_time = item["event_timestamp"]["S"], old["event_timestamp"]["S"]
            if not (old_time <= new_time if "<=" in condition else old_time < new_time):
                return _answer_json(400, {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"})
        table[item["machine_id"]["S"]] = item
        return _answer_json(200, {})

    def _put_batch(self, order: Mapping[str, Any]) -> Response:
        for name, requests in order["RequestItems"].items():
            table = self._tables.setdefault(name, {})
            for request in requests:
                item = request["PutRequest"]["Item"]
                table[item["machine_id"]["S"]] = item
        return _answer_json(200, {"UnprocessedItems": {}})

    def _get_batch(self, order: Mapping[str, Any]) -> Response:
        """Process each key, but only half of those that are asked for the first time."""
        ((name, asked),) = order["RequestItems"].items()
        machines = [key["machine_id"]["S"] for key in asked["Keys"]]
        left = [machine for machine in machines if machine not in self._asked][::2]
        self._asked.update(machines)
        table = self._tables.get(name, {})
        items = [table[machine] for machine in machines if machine in table and machine not in left]
        again = {name: {**asked, "Keys": [{"machine_id": {"S": machine}} for machine in left]}} if left else {}
        return _answer_json(200, {"Responses": {name: items}, "UnprocessedKeys": again})


def _answer_json(status: int, document: object) -> Response:
    return Response(status, json.dumps(document).encode(), {"Content-Type": "application/x-amz-json-1.0"})


@contextmanager
def running_server(*arguments: str) -> Iterator[str]:
    """Start a server in a process of its own; yield its endpoint, and end the process after."""
    from tests.harness import environment_without_python  # not for the server: it imports moto

    command = [sys.executable, "-m", "tests.benchmarks.servers", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment_without_python(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def _serve(answer: Answer, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, answer, latency), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="servers")
    parser.add_argument("service", choices=["s3", "dynamodb"])
    parser.add_argument("--lake", type=Path, help="the folder that S3 serves as its bucket")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a request")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(S3(options.lake) if options.service == "s3" else DynamoDB(), options.latency))


if __name__ == "__main__":
    main()
