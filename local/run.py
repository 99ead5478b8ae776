"""The function on this machine: its own entry point, a folder as the lake, DynamoDB in memory."""

import contextlib
import json
import logging
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from handler.app import connect_dynamodb, run
from handler.definitions.timestamps import format_instant
from handler.observability import SERVICE

TABLE: Final = "local-RealtimeFeatures"
_ENVIRONMENT: Final = {
    "DYNAMODB_TABLE_NAME": TABLE,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SESSION_TOKEN": "local",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_NEVER_SET: Final = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_CA_BUNDLE",
    "AWS_PROFILE",
    "HTTP_PROXY",  # the table is on this machine
    "http_proxy",
)


class LocalFunction:
    """The Lambda, its lake and its table, as long as the context lasts.

    Parameters
    ----------
    table
        The table, as boto3's resource.
    log
        Where the function's standard output goes.
    """

    def __init__(self, table: Any, log: TextIO) -> None:
        self._table = table
        self._log = log

    def run_at(self, as_of: datetime, *, accept_loss: bool = False) -> dict[str, Any]:
        """Invoke the function as its schedule would, when it would: else what it writes might have expired."""
        with contextlib.redirect_stdout(self._log):
            return run({"as_of": format_instant(as_of), "accept_loss": accept_loss}, now=as_of)

    def keep_items(self, path: Path) -> None:
        """Write the table's items to a file, a JSON object a line, as DynamoDB writes them."""
        from boto3.dynamodb.types import TypeSerializer

        serializer = TypeSerializer()
        items = ({name: serializer.serialize(value) for name, value in item.items()} for item in self.read_items())
        path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")

    def read_items(self) -> list[Mapping[str, Any]]:
        """Read the table's items, sorted by machine."""
        return sorted(self._table.scan()["Items"], key=lambda item: str(item["machine_id"]))


@contextmanager
def local_function(
    lake: Path,
    log: Path,
    *,
    features: Path | None = None,
    on_step: Callable[[str], object] = print,
    on_warning: Callable[[str], object] = print,
) -> Iterator[LocalFunction]:
    """Set up the function on a lake folder, and take everything down again.

    Parameters
    ----------
    lake
        The folder that holds ``raw/``; ``processed/`` is written beside it.
    log
        Where the function's log lines and metrics go.
    features
        A features.toml to use in place of the packaged one.
    on_step
        Told of each step the function reports.
    on_warning
        Told of each warning.

    Yields
    ------
    LocalFunction
        The function, ready to be invoked.
    """
    environment = {
        "TIME_WINDOW": "6",
        **{name: value for name, value in os.environ.items() if name not in _NEVER_SET},
        **_ENVIRONMENT,
        "DATA_LAKE_BUCKET": lake.resolve().as_uri(),
    }
    if features is not None:
        environment["FEATURES_FILE"] = str(features)
    steps = _StepHandler(on_step, on_warning)
    with _environment(environment), _dynamodb_in_memory() as endpoint, log.open("a", encoding="utf-8") as stream:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
        connect_dynamodb.cache_clear()
        logger = logging.getLogger(SERVICE)
        logger.addHandler(steps)
        try:
            yield LocalFunction(_create_table(), stream)
        finally:
            logger.removeHandler(steps)
            connect_dynamodb.cache_clear()


@contextmanager
def _dynamodb_in_memory() -> Iterator[str]:
    """Start moto's DynamoDB on the loopback, empty; yield its endpoint."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it writes a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _create_table() -> Any:
    import boto3

    return boto3.resource("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "machine_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "machine_id", "AttributeType": "S"}],
    )


class _StepHandler(logging.Handler):
    def __init__(self, on_step: Callable[[str], object], on_warning: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self._on_step, self._on_warning = on_step, on_warning

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        detail = fields.get("partition") or fields.get("first") or ""
        tell = self._on_warning if record.levelno == logging.WARNING else self._on_step
        tell(f"{record.getMessage()} {detail}".strip())


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
