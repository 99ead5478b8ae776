"""The online store: the newest features of each machine, one DynamoDB item a machine."""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from handler.errors import OnlineStoreError
from handler.timestamps import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable

KEY: Final = "machine_id"
RETENTION: Final = timedelta(days=7)
"""How long after its ``event_timestamp`` an item may be deleted: the table's TTL attribute is ``expires_at``."""

PUTS_IN_FLIGHT: Final = 32
"""Threads that put, and the client's connections."""

RETRIES: Final = {"mode": "standard", "total_max_attempts": 8}
"""botocore's own retries of throttled and failed requests: exponential backoff with jitter, at most 20 s."""

_SMALLEST: Final = 1e-130
_LARGEST: Final = 9.9e125
_PERMANENT: Final = frozenset(
    {"ResourceNotFoundException", "AccessDeniedException", "UnrecognizedClientException", "ValidationException"}
)

Item = dict[str, dict[str, str]]


class DynamoDBClient(Protocol):
    """What is used of boto3's DynamoDB client."""

    def put_item(self, **kwargs: Any) -> Mapping[str, Any]:
        """Put one item."""
        ...


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """How many items were written, and how many left alone because the table had a newer one."""

    written: int = 0
    stale_skipped: int = 0


def to_items(rows: pl.DataFrame, created: datetime) -> Iterator[Item]:
    """Turn feature rows into DynamoDB items.

    Parameters
    ----------
    rows
        As :func:`handler.features.compute_features` returns them.
    created
        The time of writing, UTC.

    Yields
    ------
    dict
        ``machine_id``, ``event_timestamp`` and ``created_timestamp`` (S), ``expires_at`` (N, epoch seconds), and
        every feature that is not null (N, or S where it is text). Numbers keep all their digits; what is smaller
        than DynamoDB's 1e-130 becomes 0, and what is not finite is left out.
    """
    created_text = format_instant(created)
    features = [name for name in rows.columns if name not in (KEY, "event_timestamp")]
    for row in rows.iter_rows(named=True):
        as_of = row["event_timestamp"]
        item: Item = {
            KEY: {"S": row[KEY]},
            "event_timestamp": {"S": format_instant(as_of)},
            "created_timestamp": {"S": created_text},
            "expires_at": {"N": str(int((as_of + RETENTION).timestamp()))},
        }
        for name in features:
            value = row[name]
            if isinstance(value, str):
                item[name] = {"S": value}
            elif value is not None and math.isfinite(value):
                item[name] = {"N": _to_number(value)}
        yield item


def _to_number(value: float) -> str:
    """Write a number as DynamoDB takes it: ``repr`` gives the shortest text that reads back as the same double."""
    if abs(value) < _SMALLEST:
        return "0"
    return repr(math.copysign(min(abs(value), _LARGEST), value)) if isinstance(value, float) else str(value)


def write_items(client: DynamoDBClient, table: str, items: Iterable[Item], *, only_newer: bool = False) -> OnlineResult:
    """Put items, many at a time, each only where the table has no newer one.

    Parameters
    ----------
    client
        Made with :data:`RETRIES`, and as many connections as :data:`PUTS_IN_FLIGHT`.
    table
        The table's name.
    items
        At most one a machine.
    only_newer
        Leave alone an item of the same ``event_timestamp`` as well, as a backfill does.

    Raises
    ------
    OnlineStoreError
        If an item could not be put after the retries; every other item has then been tried, unless the table is
        missing or closed to us.
    """
    comparison = "<" if only_newer else "<="
    condition = f"attribute_not_exists({KEY}) OR event_timestamp {comparison} :event_timestamp"
    stop = threading.Event()

    def put(item: Item) -> bool | None:
        if stop.is_set():
            return None
        try:
            client.put_item(
                TableName=table,
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeValues={":event_timestamp": item["event_timestamp"]},
            )
        except Exception as error:
            code = _error_code(error)
            if code == "ConditionalCheckFailedException":
                return False
            if code in _PERMANENT:
                stop.set()
            raise
        return True

    outcomes, errors = _run_bounded(put, items)
    if errors:
        raise OnlineStoreError(table, _explain(errors)) from errors[0]
    return OnlineResult(written=outcomes.count(True), stale_skipped=outcomes.count(False))


def _run_bounded(
    put: "Callable[[Item], bool | None]", items: Iterable[Item]
) -> tuple[list[bool | None], list[BaseException]]:
    """Run ``put`` on a thread pool, holding no more items at a time than keep it busy."""
    outcomes: list[bool | None] = []
    errors: list[BaseException] = []

    def collect(done: Iterable["Future[bool | None]"]) -> None:
        for future in done:
            error = future.exception()
            if error is None:
                outcomes.append(future.result())
            else:
                errors.append(error)

    with ThreadPoolExecutor(PUTS_IN_FLIGHT, thread_name_prefix="online") as pool:
        waiting: set[Future[bool | None]] = set()
        for item in items:
            if len(waiting) >= 2 * PUTS_IN_FLIGHT:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                collect(done)
            waiting.add(pool.submit(put, item))
        collect(wait(waiting).done)
    return outcomes, errors


def _error_code(error: Exception) -> str:
    """Read the service's code of a botocore ClientError; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _explain(errors: Sequence[BaseException]) -> str:
    first = " ".join(str(errors[0]).split())[:300]
    if isinstance(errors[0], Exception) and _error_code(errors[0]) == "ResourceNotFoundException":
        return f"does not exist; check DYNAMODB_TABLE_NAME ({first})"
    return f"{len(errors)} items could not be written after retries; the first: {first}"
