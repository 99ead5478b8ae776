"""One HTTP/1.1 connection: a request out, its answer in, one at a time."""

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |$)")
_MOST: Final = 1 << 20
"""Bytes of an answer beyond which it is none of DynamoDB's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes
    ----------
    headers
        Their names in lower case.
    is_last
        The connection takes no further request.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    is_last: bool = False


class BadAnswerError(ConnectionError):
    """What came back is not HTTP/1.1, or not whole."""


class UnansweredError(ConnectionError):
    """The connection was closed before anything came back."""


class Connection(asyncio.Protocol):
    """A connection that an event loop's ``create_connection`` makes; requests follow one another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._awaited: asyncio.Future[Answer] | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Tell whether it takes a request."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer, for as long as the caller does.

        Raises
        ------
        UnansweredError
            If the connection is closed before the first byte of the answer.
        BadAnswerError
            If the answer is no HTTP/1.1, or ends too early.
        """
        if self._transport is None or self._transport.is_closing():
            raise UnansweredError("the connection was closed")
        self._received = b""
        self._awaited = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._awaited
        finally:
            self._awaited = None

    async def close(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP and TLS have no other kind
        self._transport = transport
        connected: socket.socket | None = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a whole answer wakes whoever waits for it (asyncio calls this)."""
        self._received += data
        if self._awaited is None or self._awaited.done():
            self._end()  # an answer to nothing
            return
        try:
            answer = parse_answer(self._received)
        except BadAnswerError as error:
            self._awaited.set_exception(error)
            self._end()
            return
        if answer is not None:
            self._awaited.set_result(answer)
            if answer.is_last:
                self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits that nothing more comes (asyncio calls this)."""
        self._transport = None
        if self._awaited is not None and not self._awaited.done():
            what = error or "the other side closed the connection"
            kind = BadAnswerError if self._received else UnansweredError
            self._awaited.set_exception(kind(f"{what}, {len(self._received)} bytes into the answer"))
        if not self._closed.done():
            self._closed.set_result(None)

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def parse_answer(data: bytes) -> Answer | None:
    r"""Read an answer from all bytes received since its request; None while some are to come.

    Raises
    ------
    BadAnswerError
        If the bytes are no HTTP/1.1, say no length, or are too many.

    Examples
    --------
    >>> parse_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").body
    b'{}'
    >>> parse_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{") is None
    True
    """
    if len(data) > _MOST or data[:7] != b"HTTP/1."[: len(data)]:
        raise BadAnswerError(f"no answer of HTTP/1.1: {data[:40]!r}")
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise BadAnswerError(f"no answer of HTTP/1.1: {first[:40]!r}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    body, used = _read_body(headers, rest)
    if body is None:
        return None
    is_last = (
        used != len(rest)
        or first.startswith(b"HTTP/1.0")
        or headers.get(b"connection", b"").lower() == b"close"
    )  # fmt: skip
    return Answer(int(status[1]), headers, body, is_last)


def _read_body(headers: Mapping[bytes, bytes], data: bytes) -> tuple[bytes | None, int]:
    """Return the body, None while it is not whole, and the bytes it took."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _join_chunks(data)
    text = headers.get(b"content-length", b"")
    if not text.isdigit():
        raise BadAnswerError("an answer without a length")
    length = int(text)
    return (data[:length] if len(data) >= length else None), length


def _join_chunks(data: bytes) -> tuple[bytes | None, int]:
    """Read a chunked body; DynamoDB sends none, emulators and proxies may."""
    body = b""
    start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        try:
            size = int(data[start:end].partition(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0:
            raise BadAnswerError(f"no length of a chunk: {data[start:end][:40]!r}")
        if size == 0:
            trailer = data.find(b"\r\n\r\n", end)
            return (body, trailer + 4) if trailer >= 0 else (None, 0)
        start = end + 2 + size + 2
        body += data[end + 2 : end + 2 + size]
    return None, 0
