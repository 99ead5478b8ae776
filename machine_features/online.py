"""The newest features from the table, many machines at a time."""

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from handler.definitions.errors import OnlineStoreError
from handler.definitions.schema import Schema
from handler.definitions.timestamps import INSTANT, parse_instant

KEYS_A_REQUEST: Final = 100
"""DynamoDB takes no more."""

KEPT_ITEMS: Final = "online.jsonl"
"""In the folder of a local run's lake: the items of its table."""

_THREADS: Final = 16
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_TRIES_IN_VAIN: Final = 10

Item = Mapping[str, Mapping[str, Any]]


def make_client(endpoint: str | None, region: str | None) -> Any:
    """Make a client of DynamoDB that may be shared between threads.

    Parameters
    ----------
    endpoint
        None leaves it to the environment and the profile.
    region
        None leaves it to the environment and the profile.

    Returns
    -------
    botocore's client
        With as many connections as there are threads.

    Raises
    ------
    ConfigurationError
        If there is no region, no such profile, or no valid URL.
    """
    from handler import aws  # noqa: PLC0415 - botocore takes a while that only readers of the table pay

    _, client = aws.make_client(
        "dynamodb", endpoint, region, max_pool_connections=_THREADS, retries={"mode": "standard", "max_attempts": 5}
    )
    return client


def read_items(client: Any, table: str, machines: Iterable[str], names: Sequence[str] | None) -> dict[str, Item]:
    """Read the items of some machines.

    Parameters
    ----------
    client
        Of DynamoDB.
    table
        Its name.
    machines
        Ids, each once.
    names
        The attributes wanted beside the times; None for all.

    Returns
    -------
    dict of str to dict
        The items that there are, by machine, as DynamoDB writes them.

    Raises
    ------
    OnlineStoreError
        If the table does not answer, or leaves keys unprocessed again and again.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    order: dict[str, Any] = {"ConsistentRead": False}
    if names is not None:
        wanted = ["machine_id", "event_timestamp", "expires_at", *names]
        order["ExpressionAttributeNames"] = {f"#{k}": name for k, name in enumerate(wanted)}
        order["ProjectionExpression"] = ",".join(order["ExpressionAttributeNames"])

    def read(some: Sequence[str]) -> list[Item]:
        keys = [{"machine_id": {"S": machine}} for machine in some]
        found: list[Item] = []
        in_vain = 0
        while keys:
            answer = client.batch_get_item(RequestItems={table: {**order, "Keys": keys}})
            found += answer["Responses"].get(table, [])
            left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            in_vain = in_vain + 1 if len(left) == len(keys) else 0
            if in_vain == _TRIES_IN_VAIN:
                raise OnlineStoreError(
                    table,
                    f"it left {len(left)} keys unprocessed {in_vain} times in a row; its read capacity is too small",
                )
            keys = left
            if keys:
                time.sleep(random.random() * min(_FIRST_PAUSE * 2**in_vain, _LONGEST_PAUSE))  # noqa: S311 - it only spreads the load
        return found

    try:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="read") as pool:
            items = [item for some in pool.map(read, _split(list(machines))) for item in some]
    except (BotoCoreError, ClientError) as error:
        raise OnlineStoreError(
            table, f"{error}; check the table's name, AWS_REGION and the right dynamodb:BatchGetItem"
        ) from error
    return {item["machine_id"]["S"]: item for item in items}


def read_kept_items(path: Path) -> dict[str, Item]:
    """Read the items that a local run kept.

    Parameters
    ----------
    path
        A file of JSON objects, one a line, as DynamoDB writes items.

    Returns
    -------
    dict of str to dict
        By machine.

    Raises
    ------
    OnlineStoreError
        If the file is not as it was written.
    """
    try:
        items = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return {item["machine_id"]["S"]: item for item in items}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OnlineStoreError(str(path), f"it is not as the local run wrote it ({error}); run again") from error


def _split(machines: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(machines), KEYS_A_REQUEST):
        yield machines[start : start + KEYS_A_REQUEST]


def lay_out(
    machine_ids: Sequence[str], items: Mapping[str, Item], features: Schema, max_age: timedelta | None, now: datetime
) -> pl.DataFrame:
    """Lay items out as rows, one for each id asked, in the order asked.

    Parameters
    ----------
    machine_ids
        The ids; one may be there twice.
    items
        By machine.
    features
        The columns wanted, with their types.
    max_age
        Beyond which an item is stale; None for no bound.
    now
        UTC.

    Returns
    -------
    pl.DataFrame
        ``machine_id``; ``status``: ``present``, ``stale``, ``expired`` or ``missing``; ``event_timestamp``,
        ``age_seconds`` and the features, null where the item is expired or missing.
    """
    schema: dict[str, pl.DataType] = {
        "machine_id": pl.String(),
        "status": pl.String(),
        "event_timestamp": INSTANT,
        "age_seconds": pl.Float64(),
        **features,
    }
    rows = [_to_row(machine, items.get(machine), features, max_age, now) for machine in machine_ids]
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=schema)


def _to_row(
    machine: str, item: Item | None, features: Schema, max_age: timedelta | None, now: datetime
) -> dict[str, Any]:
    if item is None:
        return {"machine_id": machine, "status": "missing"}
    if "expires_at" in item and datetime.fromtimestamp(int(item["expires_at"]["N"]), UTC) <= now:
        return {"machine_id": machine, "status": "expired"}  # DynamoDB deletes it within days
    time = parse_instant(item["event_timestamp"]["S"])
    is_stale = max_age is not None and now - time > max_age
    return {
        "machine_id": machine,
        "status": "stale" if is_stale else "present",
        "event_timestamp": time,
        "age_seconds": (now - time).total_seconds(),
        **{name: _read(item[name], dtype) for name, dtype in features.items() if name in item},
    }


def _read(attribute: Mapping[str, Any], dtype: pl.DataType) -> Any:
    if dtype == pl.String:
        return attribute.get("S")
    return int(attribute["N"]) if dtype == pl.Int64 else float(attribute["N"])
