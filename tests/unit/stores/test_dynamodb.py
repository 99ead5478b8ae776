"""What is sent, how often, and what becomes of a network that fails."""

import contextlib
import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from handler.aws import Endpoint
from handler.stores.dynamodb import IN_FLIGHT, DynamoDB, Patience
from handler.stores.responses import RequestError
from tests.table_server import HANG_UP, OK, SOON, Key, Reply, Table, refuse, serving


def put(client: DynamoDB, machines: Sequence[str] = ("M1",)) -> list[RequestError | None]:
    """Put small items; how each ended."""
    ends: list[RequestError | None] = []

    def settle(error: RequestError | None) -> bool:
        ends.append(error)
        return True

    client.put_all((json.dumps({"Item": {"machine_id": {"S": machine}}}).encode() for machine in machines), settle)
    assert len(ends) == len(machines)
    return ends


def replies(*given: Reply) -> Callable[[str], Reply]:
    left = iter(given)
    return lambda machine: next(left)


def test_request_is_signed_and_says_whose_it_is() -> None:
    with serving(replies(OK)) as table:
        assert put(table.client(read_credentials=lambda: Key("AK", "SK", "T/+="))) == [None]
    (head,) = table.heads
    host = table.url.removeprefix("http://")
    assert head["path"] == "/"
    assert (head["host"], head["user-agent"]) == (host, "feature-pipeline")
    assert head["x-amz-target"] == "DynamoDB_20120810.PutItem"
    assert head["x-amz-security-token"] == "T/+="
    now = datetime.datetime.now(datetime.UTC)
    sent = datetime.datetime.strptime(head["x-amz-date"], "%Y%m%dT%H%M%S%z")
    assert abs(now - sent) < datetime.timedelta(minutes=1)
    request = AWSRequest("POST", table.url, data=json.dumps(table.orders[0]).encode())
    for name in ("Content-Type", "Content-Length", "X-Amz-Target"):
        request.headers[name] = head[name.lower()]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: sent)
        SigV4Auth(ReadOnlyCredentials("AK", "SK", "T/+="), "dynamodb", "us-east-1").add_auth(request)
    assert head["authorization"] == request.headers["Authorization"]


def test_credentials_are_read_for_every_attempt() -> None:
    keys = iter(Key(f"AK{number}") for number in range(9))
    with serving(replies(refuse("ThrottlingException"), OK)) as table:
        assert put(table.client(read_credentials=lambda: next(keys))) == [None]
    assert [head["authorization"].split("/")[0][-3:] for head in table.heads] == ["AK0", "AK1"]


def test_connections_are_used_again() -> None:
    with serving(lambda machine: OK) as table:
        assert put(table.client(), [str(k) for k in range(500)]) == [None] * 500
    assert 1 <= table.connections <= IN_FLIGHT
    assert (table.calls, table.most_at_once <= IN_FLIGHT) == (500, True)


GARBAGE = Reply(raw=b"<html>no HTTP at all</html>")
CUT_OFF = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
CUT_IN_HEAD = Reply(raw=b"HTTP/1.1 200 OK\r\nConte")
NO_LENGTH = Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n{}")
NO_JSON = Reply(200, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
DAMAGED = Reply(headers={"x-amz-crc32": "1"})
NEGATIVE_CHUNK = Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-6\r\n\r\n")
NEGATIVE_LENGTH = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
LENGTH_IN_WORDS = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n")
NO_STATUS = Reply(raw=b"HTTP/1.1 OK\r\n\r\n")
ENDLESS_HEAD = Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20))
OTHER_PROTOCOL = Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n")
PROXYS_PAGE = Reply(raw=b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\n<html>oh!")


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(HANG_UP, id="closed at once"),
        pytest.param(CUT_OFF, id="closed mid-way"),
        pytest.param(CUT_IN_HEAD, id="closed in the head"),
        pytest.param(GARBAGE, id="garbage"),
        pytest.param(NO_LENGTH, id="no length"),
        pytest.param(NO_JSON, id="no JSON"),
        pytest.param(NEGATIVE_CHUNK, id="a chunk of -6"),
        pytest.param(NEGATIVE_LENGTH, id="a length of -1"),
        pytest.param(LENGTH_IN_WORDS, id="a length in words"),
        pytest.param(NO_STATUS, id="no status"),
        pytest.param(ENDLESS_HEAD, id="an endless head"),
        pytest.param(OTHER_PROTOCOL, id="another protocol"),
        pytest.param(DAMAGED, id="another checksum"),
        pytest.param(PROXYS_PAGE, id="a proxy's page"),
        pytest.param(refuse("InternalServerError", 500), id="500"),
        pytest.param(refuse("ServiceUnavailable", 503), id="503"),
        pytest.param(refuse("RequestTimeout"), id="RequestTimeout"),
        pytest.param(refuse("ThrottlingException"), id="ThrottlingException"),
        pytest.param(refuse("RequestLimitExceeded"), id="RequestLimitExceeded"),
        pytest.param(refuse("ProvisionedThroughputExceededException"), id="ProvisionedThroughputExceededException"),
        pytest.param(Reply(429), id="429"),
    ],
)
def test_what_may_pass_is_sent_again_eight_times_at_most(bad: Reply) -> None:
    with serving(replies(bad, bad, OK)) as table:
        assert put(table.client()) == [None]
    assert table.calls == 3
    with serving(lambda machine: bad) as table:
        (error,) = put(table.client())
    assert error is not None
    assert error.is_transient
    assert table.calls == 8


@pytest.mark.parametrize(
    "code", ["ValidationException", "ExpiredTokenException", "ConditionalCheckFailedException", "SomethingNew"]
)
def test_what_will_not_pass_is_sent_once(code: str) -> None:
    with serving(lambda machine: refuse(code)) as table:
        (error,) = put(table.client())
    assert error is not None
    assert (error.code, error.is_transient, table.calls) == (code, False, 1)
    assert str(error) == f"An error occurred ({code}) when calling the PutItem operation: no"


CHUNKED = Reply(
    raw=b'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;x=1\r\n{"\r\n6\r\na": 1}\r\n0\r\nTrailer: 1\r\n\r\n'
)


def test_chunked_answer_is_read_whole() -> None:
    with serving(lambda machine: CHUNKED) as table:
        assert put(table.client(), ["1", "2"]) == [None, None]
    assert table.calls == 2


def test_refusal_without_a_code_has_its_status() -> None:
    with serving(lambda machine: Reply(raw=b"HTTP/1.1 403 -\r\nContent-Length: 4\r\n\r\nnope")) as table:
        (error,) = put(table.client())
    assert error is not None
    assert error.code == "403"


def test_connection_that_had_been_closed_meanwhile_is_made_again_at_once() -> None:
    never = replace(SOON, attempts=1)
    with serving(lambda machine: Reply(closes=True)) as table:
        assert put(table.client(never), [str(k) for k in range(200)]) == [None] * 200
    assert (table.calls, table.connections) == (200, 200)
    with serving(lambda machine: Reply(headers={"Connection": "close"})) as table:
        assert put(table.client(never), [str(k) for k in range(200)]) == [None] * 200
    assert (table.calls, table.connections) == (200, 200)


def test_slow_answer_is_given_up() -> None:
    pause = threading.Event()
    answers = iter([True, False])

    def respond(machine: str) -> Reply:
        if next(answers):
            pause.wait(5)
        return OK

    with serving(respond) as table:
        started = time.monotonic()
        assert put(table.client(replace(SOON, read=0.1))) == [None]
        assert time.monotonic() - started < 3
        pause.set()
    assert table.calls == 2

    def doze(machine: str) -> Reply:
        time.sleep(0.2)
        return OK

    with serving(doze) as table:
        (error,) = put(table.client(replace(SOON, read=0.05, attempts=1)))
    assert str(error) == f'Read timeout on endpoint URL: "{table.url}"'


def test_answer_cut_off_is_an_error_that_names_the_endpoint() -> None:
    with serving(lambda machine: CUT_OFF) as table:
        (error,) = put(table.client())
    what = "Connection was closed before we received a valid response from endpoint URL"
    assert str(error).startswith(f'{what}: "{table.url}" (')


def test_nobody_there_is_an_error_that_names_the_endpoint() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (error,) = put(DynamoDB(Endpoint(url, "us-east-1", Key), SOON))
    assert error is not None
    assert str(error).startswith(f'Could not connect to the endpoint URL: "{url}" (')


def test_connecting_is_given_up() -> None:
    with socket.socket() as deaf, contextlib.ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # the queue of those who wait to be let in is full
            stack.enter_context(waiting := socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        (error,) = put(DynamoDB(Endpoint(url, "us-east-1", Key), replace(SOON, connect=0.05, attempts=2)))
    assert error is not None
    assert str(error) == f'Connect timeout on endpoint URL: "{url}"'


def test_after_the_end_nothing_is_taken() -> None:
    taken = 0

    def orders() -> Iterator[bytes]:
        nonlocal taken
        for taken in range(1000):  # noqa: B007 - it is what is looked at
            yield b'{"Item": {"machine_id": {"S": "M"}}}'

    with serving(lambda machine: OK) as table:
        table.client().put_all(orders(), lambda error: False)
    assert taken < 200


def test_waits_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    patience = Patience()
    throttled = [patience.draw_wait(attempt, is_throttled=True) for attempt in range(1, 8)]
    assert throttled == [1, 2, 4, 8, 16, 20, 20]
    failed = [patience.draw_wait(attempt, is_throttled=False) for attempt in range(1, 8)]
    assert failed == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    monkeypatch.setattr("random.random", lambda: 0.0)
    assert patience.draw_wait(5, is_throttled=True) == 0


@contextlib.contextmanager
def encrypted(certificate: Path) -> Iterator[Table]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with serving(lambda machine: OK, context) as table:
        yield table


def test_tls_is_checked_against_the_trusted_certificates(certificate: Path) -> None:
    with encrypted(certificate) as table:
        url = table.url.replace("127.0.0.1", "localhost")
        trusted = Endpoint(url, "us-east-1", Key, ca_file=str(certificate))
        assert put(DynamoDB(trusted, SOON), [str(k) for k in range(100)]) == [None] * 100
        assert table.connections <= IN_FLIGHT
        wrong = (replace(trusted, ca_file=None), replace(trusted, url=table.url))
        with ThreadPoolExecutor() as pool:  # awscrt says so only after 10 to 30 s
            ends = list(pool.map(lambda endpoint: put(DynamoDB(endpoint, replace(SOON, attempts=1))), wrong))
        for (error,) in ends:
            assert "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE" in str(error)
    assert table.calls == 100


@pytest.mark.parametrize("user", ["", "user:p%40ss@"])
def test_proxy_is_tunnelled_through(user: str, certificate: Path) -> None:
    with encrypted(certificate) as table, forwarding() as (address, heads):
        url = table.url.replace("127.0.0.1", "localhost")
        endpoint = Endpoint(url, "us-east-1", Key, ca_file=str(certificate), proxy=f"http://{user}{address}")
        assert put(DynamoDB(endpoint, SOON), ["1", "2"]) == [None, None]
    assert all(head.startswith(f"CONNECT {url.removeprefix('https://')} HTTP/1.") for head in heads)
    assert all(("Proxy-Authorization: Basic dXNlcjpwQHNz" in head) == bool(user) for head in heads)


@contextlib.contextmanager
def forwarding() -> Iterator[tuple[str, list[str]]]:
    """A proxy on the loopback: its address, and the heads of what was asked of it."""
    heads: list[str] = []

    def copy(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def forward(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        heads.append(head.decode())
        host, _, port = head.split()[1].decode().partition(":")
        with client, socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=copy, args=(server, client))
            back.start()
            copy(client, server)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", heads
        listener.shutdown(socket.SHUT_RDWR)
