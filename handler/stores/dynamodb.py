"""Requests to DynamoDB, many at a time: signed, sent, and sent again where that may help.

AWS's own runtime (awscrt) signs them and speaks HTTP. This module decides how many are sent at a time, and which are
tried again.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.exceptions import AwsCrtError
from awscrt.http import (
    HttpClientConnection,
    HttpHeaders,
    HttpProxyAuthenticationType,
    HttpProxyConnectionType,
    HttpProxyOptions,
    HttpRequest,
)
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    SocketOptions,
    TlsConnectionOptions,
    TlsContextOptions,
)

from handler.aws import Credentials, Endpoint, NoCredentialsError
from handler.definitions.errors import ConfigurationError
from handler.lake.requests import run
from handler.stores.responses import NO_CREDENTIALS, Answer, BadAnswerError, RequestError, read_error

IN_FLIGHT: Final = 96
"""Requests at a time, each on a connection of its own."""


_CRT_ERRORS: Final = (AwsCrtError, RuntimeError)
"""What awscrt raises: its own error where an operation failed, Python's where it could not begin."""

_TIMEOUTS: Final = frozenset({"AWS_IO_SOCKET_TIMEOUT", "AWS_IO_TLS_NEGOTIATION_TIMEOUT"})

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
    connect, secure, read
        How long to wait for a TCP connection, for one that requests can be sent on, and for an answer, seconds. The
        runtime gives up a TLS handshake after 10 s. It says that a certificate is not trusted only after 10 to 30 s.
    """

    attempts: int = 8
    throttled: float = 1.0
    failed: float = 0.025
    longest: float = 20.0
    connect: float = 5.0
    secure: float = 40.0
    read: float = 20.0

    def draw_wait(self, attempt: int, *, is_throttled: bool) -> float:
        """Draw the seconds to wait after a number of attempts."""
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

    Raises
    ------
    ConfigurationError
        If the endpoint's certificates cannot be read.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience = Patience()) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self._tls = _trust(endpoint) if endpoint.is_encrypted or endpoint.proxy else None
        threads = EventLoopGroup(1)
        self._bootstrap = ClientBootstrap(threads, DefaultHostResolver(threads))
        self._headers = [
            ("Host", endpoint.authority),
            ("User-Agent", endpoint.user_agent),
            ("Content-Type", "application/x-amz-json-1.0"),
            ("X-Amz-Target", "DynamoDB_20120810.PutItem"),
        ]

    def put_all(self, orders: Iterable[bytes], settle: Settle) -> None:
        """Send PutItem requests, :data:`IN_FLIGHT` at a time, each taken from the iterable when its turn comes.

        Parameters
        ----------
        orders
            The requests' bodies.
        settle
            Told how each ended: None, or the error that was left after the retries. Once it returns False, no further
            request is taken, and no request is sent again.
        """
        run(_Sending(self, iter(orders), settle).run())

    def sign(self, order: bytes) -> HttpRequest:
        """Make the request that puts an item, signed for the five minutes around now."""
        request = HttpRequest("POST", self.endpoint.path, HttpHeaders(self._headers), BytesIO(order))
        request.headers.add("Content-Length", str(len(order)))
        how = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=_provide(self.endpoint.read_credentials()),
            region=self.endpoint.region,
            service="dynamodb",
            date=datetime.now(UTC),
            signed_body_value=hashlib.sha256(order).hexdigest(),
        )
        signed: HttpRequest = aws_sign_request(request, how).result()
        return signed

    async def connect(self) -> HttpClientConnection:
        """Connect to the endpoint; raises OSError where that fails."""
        url, patience = self.endpoint.url, self.patience
        options = SocketOptions()
        options.connect_timeout_ms = round(1000 * patience.connect)
        made = HttpClientConnection.new(
            self.endpoint.host,
            self.endpoint.port,
            self._bootstrap,
            options,
            self._secure(self.endpoint.host) if self.endpoint.is_encrypted else None,
            self._find_proxy(),
        )
        try:
            return await _wait(made, patience.secure)
        except TimeoutError:
            made.add_done_callback(_close_late)
            raise TimeoutError(f'Connect timeout on endpoint URL: "{url}"') from None
        except _CRT_ERRORS as error:
            if isinstance(error, AwsCrtError) and error.name in _TIMEOUTS:
                raise TimeoutError(f'Connect timeout on endpoint URL: "{url}"') from error
            raise ConnectionError(f'Could not connect to the endpoint URL: "{url}" ({_explain(error)})') from error

    def _secure(self, host: str) -> TlsConnectionOptions:
        options = TlsConnectionOptions(self._tls)
        options.set_server_name(host)
        return options

    def _find_proxy(self) -> HttpProxyOptions | None:
        if self.endpoint.proxy is None:
            return None
        proxy = urlsplit(self.endpoint.proxy)
        is_secure = proxy.scheme == "https"
        has_user = bool(proxy.username) and proxy.password is not None
        return HttpProxyOptions(
            proxy.hostname or "",
            proxy.port or (443 if is_secure else 80),
            self._secure(proxy.hostname or "") if is_secure else None,
            HttpProxyAuthenticationType.Basic if has_user else HttpProxyAuthenticationType.Nothing,
            unquote(proxy.username or "") if has_user else None,
            unquote(proxy.password or "") if has_user else None,
            HttpProxyConnectionType.Tunneling,
        )


def _trust(endpoint: Endpoint) -> ClientTlsContext:
    options = TlsContextOptions()
    certificates = endpoint.read_certificates()
    if certificates is not None:
        options.override_default_trust_store(certificates)
    try:
        return ClientTlsContext(options)
    except RuntimeError as error:
        raise ConfigurationError("AWS_CA_BUNDLE", f"{endpoint.ca_file} holds no certificates: {error}") from error


@lru_cache(maxsize=4)
def _make_provider(access_key: str, secret_key: str, token: str | None) -> AwsCredentialsProvider:
    return AwsCredentialsProvider.new_static(access_key, secret_key, token)


def _provide(credentials: Credentials) -> AwsCredentialsProvider:
    return _make_provider(credentials.access_key, credentials.secret_key, credentials.token)


T = TypeVar("T")


async def _wait(future: "Future[T]", seconds: float) -> T:
    """Wait for a future of awscrt, or raise TimeoutError.

    Not by ``asyncio.wrap_future``: it would cancel a future that awscrt completes later.
    """
    loop, is_done = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(is_done.set)

    future.add_done_callback(tell)
    async with asyncio.timeout(seconds):
        await is_done.wait()
    return future.result()


def _close_late(made: "Future[HttpClientConnection]") -> None:
    if made.exception() is None:
        made.result().close()


def _explain(error: Exception) -> str:
    return f"{error.name}: {error.message}" if isinstance(error, AwsCrtError) else str(error)


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
            line.close()

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
            return read_error(await line.exchange(order))
        except NoCredentialsError as error:
            return RequestError(NO_CREDENTIALS, str(error))
        except (BadAnswerError, *_CRT_ERRORS) as error:
            what = "Connection was closed before we received a valid response from endpoint URL"
            return RequestError("", f'{what}: "{self._client.endpoint.url}" ({_explain(error)})', is_transient=True)
        except OSError as error:
            return RequestError("", str(error), is_transient=True)


class _Line:
    """A connection that is made when it is needed, and again when it was closed."""

    def __init__(self, client: DynamoDB) -> None:
        self._client = client
        self._connection: HttpClientConnection | None = None

    async def exchange(self, order: bytes) -> Answer:
        """Send a request; raises OSError, or an error of awscrt, where there is no answer."""
        if self._connection is not None and self._connection.is_open():
            exchange = _Exchange()
            try:
                return await self._finish(exchange, self._connection, order)
            except _CRT_ERRORS:
                if exchange.status is not None:
                    raise  # else it had been idle for too long: that is no attempt
        self.close()
        self._connection = await self._client.connect()
        return await self._finish(_Exchange(), self._connection, order)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _finish(self, exchange: "_Exchange", connection: HttpClientConnection, order: bytes) -> Answer:
        stream = connection.request(self._client.sign(order), exchange.take_head, exchange.take_body)
        stream.activate()
        try:
            await _wait(stream.completion_future, self._client.patience.read)
        except TimeoutError:
            connection.close()
            raise TimeoutError(f'Read timeout on endpoint URL: "{self._client.endpoint.url}"') from None
        return Answer(exchange.status or 0, exchange.headers, bytes(exchange.body))


class _Exchange:
    """An answer as it comes; awscrt calls it from a thread of its own."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    def take_head(self, status_code: int, headers: Iterable[tuple[str, str]], **_: Any) -> None:
        self.headers.update((name.lower(), value) for name, value in headers)
        self.status = status_code

    def take_body(self, chunk: bytes, **_: Any) -> None:
        self.body += chunk
