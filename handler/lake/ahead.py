"""Work done in threads ahead of whoever takes its results, which come in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def work_ahead(jobs: Iterable[Callable[[], T]], *, threads: int, ahead: int, name: str) -> Generator[T, None, None]:
    """Do jobs in threads, and give their results in the jobs' order.

    Parameters
    ----------
    jobs
        Taken as they are needed.
    threads
        How many are done at a time.
    ahead
        How many more are under way, or done, while a result is dealt with.
    name
        What the threads' names begin with.

    Yields
    ------
    T
        Each job's result, in the order of the jobs.

    Raises
    ------
    Exception
        What a job raises, when its result's turn comes; no further job is begun then.

    Examples
    --------
    >>> list(work_ahead([lambda: 1, lambda: 2, lambda: 3], threads=2, ahead=1, name="count"))
    [1, 2, 3]
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    under_way: deque[Future[T]] = deque()
    try:
        for job in jobs:
            under_way.append(pool.submit(job))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
