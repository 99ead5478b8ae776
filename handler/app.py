"""The function's entry point: event in, answer out; the only reader of the environment and the clock."""

import json
import os

if "JEMALLOC_CONF" in os.environ:
    os.environ.setdefault("_RJEM_MALLOC_CONF", os.environ["JEMALLOC_CONF"])

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from handler.answer import was_every_object_skipped
from handler.aws import find_table_endpoint
from handler.deadline import Deadline
from handler.definitions.errors import ConfigurationError, MissingObjectError, ProcessingError
from handler.definitions.schema import require_small_items
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.observability import emit_metrics, logger
from handler.pipeline.exchange import Exchange, digest
from handler.pipeline.run import Job, run_pipeline
from handler.pipeline.stages import read_stage, take_stage
from handler.plan import Plan, make_plan, require_past
from handler.settings import Settings
from handler.stores.online import RETENTION, OnlineResult, to_items, write_items

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
    return run(
        event,
        now=datetime.now(UTC),
        function_name=getattr(context, "function_name", "local"),
        deadline=Deadline.of_function(context),
    )


def run(
    event: Mapping[str, Any], *, now: datetime, function_name: str = "local", deadline: Deadline | None = None
) -> dict[str, Any]:
    """Do what an event asks for, at a time of one's own choice.

    Parameters
    ----------
    event
        As of :func:`lambda_handler`.
    now
        The time of the call, UTC.
    function_name
        The metrics' dimension.
    deadline
        When the run has to end; never, unless it is given.

    Returns
    -------
    dict
        As of :func:`lambda_handler`.

    Raises
    ------
    ProcessingError
        As of :func:`lambda_handler`.
    """
    try:
        settings = Settings.from_environment(os.environ)
        logger.setLevel(settings.log_level)
        spec = load_spec(settings)
        require_small_items(spec)
        if isinstance(event, Mapping) and "stage" in event:
            answer = run_stage(event, spec, settings, now)
            if event["stage"] != "answer":
                logger.info("stage done", extra={"stage": event["stage"], "answer": answer})
                return answer
        else:
            plan = read_plan(event, spec, settings, now)
            job = prepare_job(plan, spec, settings, now)
            answer = run_pipeline(plan, replace(job, deadline=deadline or job.deadline))
    except ProcessingError as error:
        logger.error("run failed: %s", error)
        raise
    except Exception:
        logger.exception("run failed")
        raise
    if was_every_object_skipped(answer):
        logger.warning("every object was skipped; raw objects are named *.jsonl, *.ndjson or *.json, or so with .gz")
    if answer["training_not_written"]:
        logger.warning(
            "training hours were not written again: less is left than they were made of",
            extra={"training": answer["training"]},
        )
    logger.info("run finished", extra=answer)
    emit_metrics(answer, function_name)
    return answer


def read_plan(event: Mapping[str, Any], spec: FeatureSpec, settings: Settings, now: datetime) -> Plan:
    """Read what an event asks for, by the deployment's settings."""
    return make_plan(
        event,
        now=now,
        time_window=settings.time_window,
        lookback=spec.lookback,
        allowed_lateness=settings.allowed_lateness,
        future_tolerance=settings.future_tolerance,
        raw_retention=settings.raw_retention,
    )


def run_stage(event: Mapping[str, Any], spec: FeatureSpec, settings: Settings, now: datetime) -> dict[str, Any]:
    """Take one stage of a run: the first says what the run answers for, the others read it."""
    fields = read_stage(event)
    exchange = Exchange(open_lake(settings.lake, settings.endpoint, settings.region), event.get("run", ""))
    if event["stage"] == "plan":
        asked, started = fields.get("event", {}), fields.get("started", now)
        require_past("started", started, now)
        name = digest(json.dumps([asked, event.get("started")], sort_keys=True, default=str))
        if not exchange.is_begun(name):
            exchange.write_plan(read_plan(asked, spec, settings, started), started, spec.digest, name)
    return take_stage(
        event, exchange, spec.digest, lambda plan, started: prepare_job(plan, spec, settings, started, in_stages=True)
    )


def load_spec(settings: Settings) -> FeatureSpec:
    """Read features.toml from the lake's bucket, a file or the package."""
    if settings.features_key is None:
        return FeatureSpec.load(settings.features_file)
    where = f"FEATURES_FILE s3://{settings.lake}/{settings.features_key}"
    try:
        (data,) = open_lake(settings.lake, settings.endpoint, settings.region).read([settings.features_key])
        return FeatureSpec.parse(data.decode(), source=settings.features_key)
    except MissingObjectError as error:
        raise ConfigurationError(where, "does not exist; put a features.toml there") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(where, f"is no text in UTF-8 ({error})") from error


def prepare_job(plan: Plan, spec: FeatureSpec, settings: Settings, now: datetime, *, in_stages: bool = False) -> Job:
    """Open the lake, and prepare to open the table when there is something to write."""

    def write_online(rows: pl.DataFrame) -> OnlineResult:
        if rows.is_empty():
            return OnlineResult()
        if plan.as_of + RETENTION <= now:
            return OnlineResult(expired_skipped=rows.height)
        client = connect_dynamodb(settings.endpoint, settings.region)
        only_newer: bool | Literal["or own"] = "or own" if plan.is_backfill and in_stages else plan.is_backfill
        return write_items(client, settings.table, to_items(rows, now), only_newer=only_newer)

    return Job(
        lake=open_lake(settings.lake, settings.endpoint, settings.region),
        write_online=write_online,
        spec=spec,
        now=now,
        max_machines=settings.max_machines,
        report=lambda message, fields: logger.info(message, extra=fields),
        warn=lambda message, fields: logger.warning(message, extra=fields),
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
