"""A proxy that does to requests what a bad day of the network does."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

FAULTS = ("500", "503", "reset", "cut", "slow", "answer is lost", "hang")
"""Of the last two: the request is done and its answer never comes; nothing happens until the client gives up."""

_ERROR = b"<Error><Code>%s</Code><Message>put in on purpose</Message></Error>"
_THROTTLED = b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"put in on purpose"}'


@dataclass
class FaultyProxy:
    """Passes requests on, and does something to some of them.

    Attributes
    ----------
    upstream
        The server's URL.
    rate
        Which share of requests meets a fault.
    random
        Chooses.
    faults
        Of which one is chosen.
    done
        How often each was put in.
    """

    upstream: str
    rate: float
    random: Random
    faults: Sequence[str] = FAULTS
    done: Counter[str] = field(default_factory=Counter)
    throttled_until: float = 0.0

    def throttle(self, seconds: float) -> None:
        """Answer every request with SlowDown for a while."""
        self.throttled_until = time.monotonic() + seconds

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it in a thread; give its URL."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(self._end(server))
            loop.close()

    @staticmethod
    async def _end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections that were aborted end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing_hard(writer):
            while True:
                head, body = await _read_message(reader)
                is_hit = self.random.random() < self.rate
                fault = self.random.choice(list(self.faults)) if is_hit else None
                if time.monotonic() < self.throttled_until:
                    fault = "503"
                if fault is not None:
                    self.done[fault] += 1
                answer = await self._answer(fault, head, body)
                if answer is None:
                    break
                writer.write(answer[: len(answer) // 2] if fault == "cut" else answer)
                await writer.drain()
                if fault == "cut":
                    break

    async def _answer(self, fault: str | None, head: bytes, body: bytes) -> bytes | None:
        """Answer a request; None where the connection is to break instead."""
        if fault == "reset":
            return None
        if fault in {"500", "503"}:
            return _fail(fault, is_table=b"x-amz-target" in head.lower())
        if fault == "hang":
            await asyncio.sleep(60)
        if fault == "slow":
            await asyncio.sleep(self.random.uniform(0, 0.3))
        answer = await self._pass_on(head, body)
        return None if fault == "answer is lost" else answer

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        place = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        with closing_hard(writer):
            writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            await writer.drain()
            return b"".join(await _read_message(reader, is_head=head.startswith(b"HEAD")))


@contextmanager
def closing_hard(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Break a connection in the end."""
    try:
        yield
    finally:
        writer.transport.abort()


def _fail(status: str, *, is_table: bool) -> bytes:
    if is_table:
        body = _THROTTLED if status == "503" else b'{"__type":"InternalServerError"}'
        status = "400" if status == "503" else status
    else:
        body = _ERROR % (b"SlowDown" if status == "503" else b"InternalError")
    return b"HTTP/1.1 %s -\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


async def _read_message(reader: asyncio.StreamReader, *, is_head: bool = False) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head, await reader.readexactly(int(lengths[0]) if lengths and not is_head else 0)
