"""Requests to an object store: many at a time, and what goes wrong with them."""

import asyncio
import atexit
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from obstore.exceptions import BaseError

from handler.definitions.errors import LakeError, MissingObjectError

_REQUESTS_IN_FLIGHT: Final = 128
_TRIES: Final = 10
_FIRST_PAUSE: Final = 0.1
_CUT_SHORT: Final = "response body"
"""What obstore says where an answer had begun: it tries again only what fails before, and that for long enough."""

_LAST_WORDS: Final = 0.05
"""So long, in seconds, threads of obstore may still tell of their last answer when a process ends.

Python 3.11 ends such a thread in a way that aborts the process.
"""

atexit.register(time.sleep, _LAST_WORDS)

T = TypeVar("T")
S = TypeVar("S")


@contextmanager
def turning_store_errors(action: str) -> Iterator[None]:
    """Turn what obstore raises into a :class:`LakeError` that says what was being done."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingObjectError(action, "it is not there, though it should be; run again") from error
    except (BaseError, OSError, ValueError) as error:
        raise LakeError(action, _explain(error)) from error


async def insist(work: Callable[[], Awaitable[T]]) -> T:
    """Do a request until its answer comes whole, with pauses that double, some 25 seconds in all.

    Parameters
    ----------
    work
        Does the request, and may do it again.

    Returns
    -------
    T
        What it gives.

    Raises
    ------
    BaseError
        What obstore raises for another reason, or the last time.
    """
    for attempt in range(_TRIES - 1):
        try:
            return await work()
        except BaseError as error:
            if _CUT_SHORT not in str(error):
                raise
        await asyncio.sleep(_FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - not for secrets
    return await work()


def _explain(error: BaseException) -> str:
    message = " ".join(str(error).split("\n\nDebug source")[0].split())
    for code, advice in (
        ("NoSuchBucket", "the bucket does not exist; check DATA_LAKE_BUCKET"),
        ("InvalidObjectState", "the object is archived; restore it, or take it out of raw/"),
        ("AccessDenied", "access is denied; check the role's permissions"),
        ("error sending request", "the store does not answer; check the network, AWS_ENDPOINT_URL and AWS_CA_BUNDLE"),
    ):
        if code in message:
            return f"{advice} ({message[:300]})"
    return message[:500] or type(error).__name__


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own; in a thread of its own where a loop is running, as in a notebook's cell.

    Not ``asyncio.run``: when it restores the handler of SIGINT, it formats the task's result for the message of an
    exception that it drops. The result is megabytes of raw lines.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_in_new_loop(work)
    with ThreadPoolExecutor(1, thread_name_prefix="loop") as pool:
        return pool.submit(_run_in_new_loop, work).result()


def _run_in_new_loop(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def gather(work: Callable[[S], Awaitable[T]], items: Sequence[S]) -> list[T]:
    """Do ``work`` on every item, a bounded number at a time; results in the items' order."""
    limit = asyncio.Semaphore(_REQUESTS_IN_FLIGHT)

    async def bounded(item: S) -> T:
        async with limit:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bounded(item)) for item in items]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
