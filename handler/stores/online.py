"""The online store: the newest features of each machine, one DynamoDB item a machine."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import orjson
import polars as pl

from handler.definitions.errors import OnlineStoreError
from handler.definitions.timestamps import format_instant
from handler.stores.responses import NO_CREDENTIALS, RequestError

if TYPE_CHECKING:
    from handler.stores.dynamodb import DynamoDB

KEY: Final = "machine_id"
RETENTION: Final = timedelta(days=7)
"""How long after its ``event_timestamp`` an item may be deleted: the table's TTL attribute is ``expires_at``."""

_ROWS_AT_A_TIME: Final = 512
_SMALLEST: Final = 1e-130
_LARGEST: Final = 9.9e125
_PLAIN: Final = (1e-4, 1e16)
"""Doubles between these, in size, are written without an exponent, and alike by ``repr`` and orjson."""

_PERMANENT: Final = frozenset(
    {
        "AccessDeniedException",
        NO_CREDENTIALS,
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)

Attribute = dict[str, str]
Item = dict[str, Attribute]


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """How many items were written, left alone because the table had a newer one, or not sent: they had expired."""

    written: int = 0
    stale_skipped: int = 0
    expired_skipped: int = 0

    def __add__(self, other: "OnlineResult") -> "OnlineResult":
        return OnlineResult(
            self.written + other.written,
            self.stale_skipped + other.stale_skipped,
            self.expired_skipped + other.expired_skipped,
        )


def to_items(rows: pl.DataFrame, created: datetime) -> Iterator[Item]:
    """Turn feature rows into DynamoDB items.

    Parameters
    ----------
    rows
        As :func:`handler.features.rows.compute_features` returns them.
    created
        The time of writing, UTC.

    Yields
    ------
    dict
        ``machine_id``, ``event_timestamp`` and ``created_timestamp`` (S), ``expires_at`` (N, epoch seconds), and
        every feature that is not null (N, or S where it is text). Numbers keep all their digits. A number below
        DynamoDB's 1e-130 becomes 0, and one that is not finite is omitted.
    """
    created_text = format_instant(created)
    for some in rows.iter_slices(_ROWS_AT_A_TIME):
        yield from _to_items(some, {"S": created_text})


def _to_items(rows: pl.DataFrame, created: Attribute) -> Iterator[Item]:
    """Turn some rows into items; texts are made a column at a time, which takes a fifth of the time of cell by cell."""
    instants: list[datetime] = rows["event_timestamp"].to_list()
    starts = {instant: _to_first_attributes(instant, created) for instant in set(instants)}
    features = rows.drop(KEY, "event_timestamp")
    names = features.columns
    kinds = ["S" if dtype == pl.String else "N" for dtype in features.dtypes]
    texts = zip(*_write_columns(features), strict=True) if names else iter([()] * rows.height)
    for machine, instant, values in zip(rows[KEY].to_list(), instants, texts, strict=True):
        item: Item = {KEY: {"S": machine}, **starts[instant]}
        item.update(
            {name: {kind: text} for name, kind, text in zip(names, kinds, values, strict=True) if text is not None}
        )
        yield item


def _to_first_attributes(as_of: datetime, created: Attribute) -> Item:
    return {
        "event_timestamp": {"S": format_instant(as_of)},
        "created_timestamp": created,
        "expires_at": {"N": str(int((as_of + RETENTION).timestamp()))},
    }


def _write_columns(features: pl.DataFrame) -> Iterator[list[str | None]]:
    """Write each column's values, None where the table could not hold a row's value."""
    rare = _find_rare(features)
    for column in features:
        if column.dtype == pl.String:
            yield column.to_list()
        elif column.dtype.is_float():
            yield _write_doubles(column.to_list(), rare[column.name])
        else:
            yield [None if value is None else str(value) for value in column.to_list()]


def _find_rare(features: pl.DataFrame) -> dict[str, list[int]]:
    """Find the doubles, row by row, that orjson may write otherwise than ``repr``, or the table does not hold."""
    size = pl.selectors.float().cast(pl.Float64).abs()
    is_rare = (size < _PLAIN[0]) | (size >= _PLAIN[1])
    found = features.select(is_rare.arg_true().implode())
    return found.row(0, named=True) if found.columns else {}


def _write_doubles(values: list[float | None], rare: list[int]) -> list[str | None]:
    """Write each number as ``_to_number`` does; None where it is null or not finite."""
    document = orjson.dumps(values)
    texts: list[str | None] = list(document[1:-1].decode().split(","))
    for row in rare:
        value = values[row]
        if value is not None and math.isfinite(value):
            texts[row] = _to_number(value)
    return [None if text == "null" else text for text in texts] if b"null" in document else texts


def _to_number(value: float) -> str:
    """Write a number as DynamoDB takes it: ``repr`` gives the shortest text that reads back as the same double."""
    if abs(value) < _SMALLEST:
        return "0"
    return repr(math.copysign(min(abs(value), _LARGEST), value))


def write_items(
    client: "DynamoDB", table: str, items: Iterable[Item], *, only_newer: bool | Literal["or own"] = False
) -> OnlineResult:
    """Put items, many at a time, each only where the table has no newer one.

    Parameters
    ----------
    client
        Sends the requests, and sends again those that are throttled or fail.
    table
        The table's name.
    items
        At most one a machine.
    only_newer
        Leave alone an item of the same ``event_timestamp`` as well, as a backfill does. ``"or own"`` replaces it where
        its ``created_timestamp`` is the same too: this run put it, and began again.

    Returns
    -------
    OnlineResult
        How many items were put, and how many the table had newer ones of.

    Raises
    ------
    OnlineStoreError
        If an item could not be put after the retries. Every other item has then been tried, unless the table is missing
        or closed to us.
    """
    comparison = "<" if only_newer else "<="
    condition = f"attribute_not_exists({KEY}) OR event_timestamp {comparison} :event_timestamp"
    names = ["event_timestamp"]
    if only_newer == "or own":
        condition += " OR event_timestamp = :event_timestamp AND created_timestamp = :created_timestamp"
        names.append("created_timestamp")
    outcomes = _Outcomes()
    client.put_all((_to_order(table, item, condition, names) for item in items), outcomes.settle)
    if outcomes.first_error is not None:
        raise OnlineStoreError(table, outcomes.explain()) from outcomes.first_error
    return OnlineResult(outcomes.written, outcomes.stale_skipped)


def _to_order(table: str, item: Item, condition: str, names: Iterable[str]) -> bytes:
    return orjson.dumps(
        {
            "TableName": table,
            "Item": item,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {f":{name}": item[name] for name in names},
        }
    )


@dataclass(slots=True)
class _Outcomes:
    """How the puts ended."""

    written: int = 0
    stale_skipped: int = 0
    failed: int = 0
    first_error: RequestError | None = None

    def settle(self, error: RequestError | None) -> bool:
        """Count one; False where no other can end better."""
        if error is None:
            self.written += 1
        elif error.code == "ConditionalCheckFailedException":
            self.stale_skipped += 1
        else:
            self.failed += 1
            self.first_error = self.first_error or error
            return error.code not in _PERMANENT
        return True

    def explain(self) -> str:
        first = str(self.first_error)[:300]
        if self.first_error is not None and self.first_error.code == "ResourceNotFoundException":
            return f"does not exist; check DYNAMODB_TABLE_NAME ({first})"
        return f"{self.failed} items could not be written after retries; the first: {first}"
