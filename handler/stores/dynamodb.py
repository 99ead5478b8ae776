"""Requests to DynamoDB, many at a time: signed, sent, and sent again where that may help."""

import asyncio
import random
import socket
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urlsplit

import orjson

from handler.aws import Endpoint, NoCredentialsError
from handler.lake.requests import run
from handler.stores.connection import Answer, BadAnswerError, Connection, UnansweredError
from handler.stores.signature import Signer

IN_FLIGHT: Final = 96
"""Requests at a time, each on a connection of its own."""

NO_CREDENTIALS: Final = "NoCredentials"
"""The code of an error on our own side: there is nothing to sign with."""

_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TRANSIENT: Final = frozenset({"RequestTimeout", "RequestTimeoutException"})
_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


class RequestError(Exception):
    """A request was refused, or not answered.

    Parameters
    ----------
    code
        The service's code; empty where it gave none.
    message
        One line.
    is_transient
        Another attempt may help.
    is_throttled
        Requests come faster than the table takes them; another attempt may help later.
    """

    def __init__(self, code: str, message: str, *, is_transient: bool = False, is_throttled: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_transient = is_transient or is_throttled
        self.is_throttled = is_throttled


Settle = Callable[[RequestError | None], bool]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an answer, how often to ask again, and how long to wait between.

    The waits are exponential with full jitter: each is drawn between 0 and a bound that doubles.

    Attributes
    ----------
    attempts
        How often a request is sent at most, the first time included.
    throttled, failed
        The first bound after a throttled and after any other failed attempt, seconds.
    longest
        The last bound, seconds.
    connect, read
        How long to wait for a connection, and for an answer, seconds.
    """

    attempts: int = 8
    throttled: float = 1.0
    failed: float = 0.025
    longest: float = 20.0
    connect: float = 5.0
    read: float = 20.0

    def draw_wait(self, attempt: int, *, is_throttled: bool) -> float:
        """Draw the seconds to wait after so many attempts."""
        bound = (self.throttled if is_throttled else self.failed) * 2.0 ** (attempt - 1)
        return random.random() * min(bound, self.longest)  # noqa: S311 - it only spreads the load


class DynamoDB:
    """A client of one endpoint, whose connections last as long as a call.

    Parameters
    ----------
    endpoint
        Where requests go.
    patience
        How often a request is sent.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience = Patience()) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self.tls = endpoint.make_tls()
        headers = {
            "Host": endpoint.authority,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "DynamoDB_20120810.PutItem",
        }
        self._signer = Signer(endpoint.region, endpoint.path, headers)
        fixed = {**headers, "User-Agent": endpoint.user_agent}
        self._head = f"POST {endpoint.path} HTTP/1.1\r\n{_to_lines(fixed)}"

    def put_all(self, orders: Iterable[bytes], settle: Settle) -> None:
        """Send PutItem requests, :data:`IN_FLIGHT` at a time, each taken from the iterable when its turn comes.

        Parameters
        ----------
        orders
            The requests' bodies.
        settle
            Told how each ended: None, or the error that was left after the retries. Once it returns False, no further
            request is taken, and none is sent again.
        """
        run(_Sending(self, iter(orders), settle).run())

    def write_request(self, order: bytes) -> bytes:
        """Write a request as it is sent, signed now."""
        added = self._signer.sign(order, self.endpoint.read_credentials(), datetime.now(UTC))
        return f"{self._head}{_to_lines(added)}Content-Length: {len(order)}\r\n\r\n".encode() + order


def _to_lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


class _Sending:
    """One call of :meth:`DynamoDB.put_all`: a task and a connection for each request in flight."""

    def __init__(self, client: DynamoDB, orders: Iterator[bytes], settle: Settle) -> None:
        self._client = client
        self._orders = orders
        self._settle = settle
        self._is_stopped = False
        self._is_in_vain = False

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(self._send_orders())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_orders(self) -> None:
        line = _Line(self._client)
        try:
            while not self._is_stopped and (order := next(self._orders, None)) is not None:
                if not self._settle(await self._send(line, order)):
                    self._is_stopped = True
        finally:
            await line.close()

    async def _send(self, line: "_Line", order: bytes) -> RequestError | None:
        for attempt in range(1, self._client.patience.attempts + 1):
            error = await self._attempt(line, order)
            if error is None or not error.is_transient:
                self._is_in_vain = False
                return error
            if self._is_stopped or self._is_in_vain:
                return error
            if attempt < self._client.patience.attempts:
                await asyncio.sleep(self._client.patience.draw_wait(attempt, is_throttled=error.is_throttled))
        self._is_in_vain = True  # the others are tried once each until the table answers: all attempts would take hours
        return error

    async def _attempt(self, line: "_Line", order: bytes) -> RequestError | None:
        try:
            request = self._client.write_request(order)
        except NoCredentialsError as error:
            return RequestError(NO_CREDENTIALS, str(error))
        try:
            return read_error(await line.exchange(request))
        except (BadAnswerError, UnansweredError) as error:
            what = "Connection was closed before we received a valid response from endpoint URL"
            return RequestError("", f'{what}: "{self._client.endpoint.url}" ({error})', is_transient=True)
        except OSError as error:
            return RequestError("", str(error), is_transient=True)


class _Line:
    """A connection that is made when it is needed, and again when it was closed."""

    def __init__(self, client: DynamoDB) -> None:
        self._client = client
        self._connection: Connection | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Send a request; raises OSError where there is no answer."""
        if self._connection is not None and self._connection.is_open:
            try:
                return await self._exchange(self._connection, request)
            except UnansweredError:
                pass  # it had been idle for too long: that is no attempt
        await self.close()
        self._connection = await self._connect()
        return await self._exchange(self._connection, request)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _exchange(self, connection: Connection, request: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._client.patience.read):
                return await connection.exchange(request)
        except TimeoutError:
            await connection.close()
            raise TimeoutError(f'Read timeout on endpoint URL: "{self._client.endpoint.url}"') from None

    async def _connect(self) -> Connection:
        url = self._client.endpoint.url
        try:
            async with asyncio.timeout(self._client.patience.connect):
                return await self._open()
        except TimeoutError:
            raise TimeoutError(f'Connect timeout on endpoint URL: "{url}"') from None
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ConnectionError(f'Could not connect to the endpoint URL: "{url}" ({reason})') from error

    async def _open(self) -> Connection:
        loop, endpoint, tls = asyncio.get_running_loop(), self._client.endpoint, self._client.tls
        name = None if tls is None else endpoint.host
        if endpoint.proxy is None:
            _, made = await loop.create_connection(
                Connection, endpoint.host, endpoint.port, ssl=tls, server_hostname=name
            )
        else:
            tunnel = await asyncio.to_thread(_dig_tunnel, endpoint, self._client.patience.connect)
            _, made = await loop.create_connection(Connection, sock=tunnel, ssl=tls, server_hostname=name)
        return made


def _dig_tunnel(endpoint: Endpoint, seconds: float) -> socket.socket:
    """Connect through an HTTP proxy."""
    from http.client import HTTPConnection  # noqa: PLC0415 - it takes a while, and few have a proxy

    proxy = urlsplit(endpoint.proxy or "")
    connection = HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=seconds)
    connection.set_tunnel(endpoint.host, endpoint.port, _authorize(proxy.username, proxy.password))
    connection.connect()
    tunnel: socket.socket = connection.sock
    tunnel.settimeout(0)
    return tunnel


def _authorize(user: str | None, password: str | None) -> dict[str, str]:
    if not user or password is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def read_error(answer: Answer) -> RequestError | None:
    """Read what an answer says went wrong; None where all went well.

    Raises
    ------
    BadAnswerError
        If the answer is not the service's, or was damaged on its way.
    """
    checksum = answer.headers.get(b"x-amz-crc32", b"")
    if checksum.isdigit() and int(checksum) != zlib.crc32(answer.body):
        raise BadAnswerError("an answer whose checksum is another")
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if answer.status == _OK:
        if not isinstance(document, dict):
            raise BadAnswerError(f"an answer that is no JSON object: {answer.body[:40]!r}")
        return None
    code, message = _read_refusal(document if isinstance(document, dict) else {}, answer.status)
    return RequestError(
        code,
        f"An error occurred ({code}) when calling the PutItem operation: {message}",
        is_transient=answer.status >= _SERVER_ERROR or code in _TRANSIENT,
        is_throttled=answer.status == _TOO_MANY_REQUESTS or code in _THROTTLED,
    )


def _read_refusal(document: dict[str, object], status: int) -> tuple[str, str]:
    """Return code and message; the code follows the name of its family, as in ``com.amazonaws.dynamodb#Code``."""
    kind = str(document.get("__type") or document.get("code") or status)
    message = document.get("message") or document.get("Message") or ""
    return kind.rpartition("#")[2].partition(":")[0], " ".join(str(message).split())
