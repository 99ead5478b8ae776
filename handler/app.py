"""The function's entry point: event in, answer out; the only reader of the environment and the clock."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from handler.aws import find_table_endpoint
from handler.definitions.errors import ProcessingError
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.observability import emit_metrics, logger
from handler.pipeline import Job, run_pipeline
from handler.plan import Plan, make_plan
from handler.settings import Settings
from handler.stores.online import OnlineResult, to_items, write_items

if TYPE_CHECKING:
    from handler.stores.dynamodb import DynamoDB


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Compute the features one run answers for.

    Parameters
    ----------
    event
        ``{}``, ``{"as_of": instant}`` or, for a backfill, ``{"start": instant, "end": instant}``.
    context
        Lambda's context object; its function name becomes the metrics' dimension.

    Returns
    -------
    dict
        The run's answer, see :meth:`handler.answer.Accounting.to_answer`.

    Raises
    ------
    ProcessingError
        If the run cannot be done, so that the caller retries and the dead-letter queue fills.
    """
    now = datetime.now(UTC)
    try:
        settings = Settings.from_environment(os.environ)
        logger.setLevel(settings.log_level)
        spec = FeatureSpec.load(settings.features_file)
        plan = make_plan(
            event,
            now=now,
            time_window=settings.time_window,
            lookback=spec.lookback,
            allowed_lateness=settings.allowed_lateness,
        )
        answer = run_pipeline(plan, prepare_job(plan, spec, settings, now))
    except ProcessingError as error:
        logger.error("run failed: %s", error)
        raise
    except Exception:
        logger.exception("run failed")
        raise
    logger.info("run finished", extra=answer)
    emit_metrics(answer, getattr(context, "function_name", "local"))
    return answer


def prepare_job(plan: Plan, spec: FeatureSpec, settings: Settings, now: datetime) -> Job:
    """Open the lake, and prepare to open the table when there is something to write."""

    def write_online(rows: pl.DataFrame) -> OnlineResult:
        if rows.is_empty():
            return OnlineResult()
        client = connect_dynamodb(settings.endpoint, settings.region)
        return write_items(client, settings.table, to_items(rows, now), only_newer=plan.is_backfill)

    return Job(
        lake=open_lake(settings.lake, settings.endpoint, settings.region),
        write_online=write_online,
        spec=spec,
        now=now,
        report=lambda message, fields: logger.info(message, extra=fields),
    )


@cache
def open_lake(location: str, endpoint: str | None, region: str | None) -> Lake:
    """Open the lake, once a process: to find out where a bucket is takes a while."""
    return Lake.open(location, endpoint=endpoint, region=region)


@cache
def connect_dynamodb(endpoint: str | None, region: str | None) -> "DynamoDB":
    """Make the table's client, once a process; AWS's libraries are imported only when there is something to write."""
    from handler.stores.dynamodb import DynamoDB  # noqa: PLC0415 - awscrt takes 26 ms to import

    return DynamoDB(find_table_endpoint(endpoint, region))
