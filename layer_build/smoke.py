"""Run once everything that a layer promises, in an interpreter that sees nothing but this file and the layer.

``python3.11 -I -S smoke.py LAYER/python FUNCTION``; the last line printed is JSON.
"""

import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

AS_OF = datetime(2025, 10, 15, 10, tzinfo=UTC)


def _require(truth: bool, what: str) -> None:  # noqa: FBT001 - it reads as a sentence
    if not truth:
        raise RuntimeError(what)


def use_polars() -> str:
    """Group, write Parquet, read it back."""
    import polars as pl

    frame = pl.DataFrame({"machine": ["a", "b", "a"], "value": [1.0, 2.0, 3.0]})
    means = frame.lazy().group_by("machine").agg(pl.col("value").mean()).sort("machine").collect()
    _require(means["value"].to_list() == [2.0, 2.0], "polars groups wrongly")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.parquet"
        for compression in ("zstd", "snappy", "gzip", "lz4"):
            frame.write_parquet(path, compression=compression)
            _require(pl.read_parquet(path).equals(frame), f"polars does not read back its {compression} Parquet")
        _require(pl.scan_parquet(path).filter(pl.col("value") > 1).collect().height == 2, "polars filters wrongly")
    return str(pl.__version__)


def use_numpy() -> str:
    """Solve, factor, transform, draw; and the testing functions that other packages import."""
    import numpy as np
    import numpy.testing as npt

    draw = np.random.default_rng(7).normal(size=(60, 60))
    npt.assert_allclose(draw @ np.linalg.solve(draw, np.ones(60)), np.ones(60), rtol=1e-8)
    left, values, right = np.linalg.svd(draw)
    npt.assert_allclose(left * values @ right, draw, atol=1e-10)
    npt.assert_allclose(np.fft.ifft(np.fft.fft(draw[0])).real, draw[0], atol=1e-12)
    _require(abs(np.linalg.eigvalsh(draw + draw.T).sum() - 2 * np.trace(draw)) < 1e-9, "numpy's eigenvalues are wrong")
    return str(np.__version__)


def use_pandas() -> str:
    """Group, resample, join, and go through CSV, JSON and time zones."""
    import io

    import pandas as pd
    import pandas.testing as pdt

    times = pd.date_range("2025-10-15", periods=6, freq="20min", tz="America/Sao_Paulo")
    frame = pd.DataFrame({"machine": list("ababab"), "value": range(6)}, index=times)
    _require(frame.groupby("machine")["value"].sum().to_dict() == {"a": 6, "b": 9}, "pandas groups wrongly")
    _require(frame["value"].resample("1h").sum().tolist() == [3, 12], "pandas resamples wrongly")
    _require(frame["value"].rolling(2).mean().iloc[-1] == 4.5, "pandas rolls wrongly")
    plain = frame.reset_index(drop=True)
    pdt.assert_frame_equal(pd.read_csv(io.StringIO(plain.to_csv(index=False))), plain)
    pdt.assert_frame_equal(pd.read_json(io.StringIO(plain.to_json())), plain)
    _require(len(plain.merge(plain, on="machine")) == 18, "pandas joins wrongly")
    _require("value" in repr(plain), "pandas shows wrongly")
    return str(pd.__version__)


def use_obstore() -> str:
    """Put, list and get, in memory and in a folder."""
    import obstore
    from obstore.store import LocalStore, MemoryStore, S3Store

    S3Store("some-bucket", region="us-east-1")
    with tempfile.TemporaryDirectory() as folder:
        for store in (MemoryStore(), LocalStore(folder)):
            obstore.put(store, "raw/a.jsonl", b"{}")
            _require(
                [item["path"] for item in obstore.list(store).collect()] == ["raw/a.jsonl"], "obstore lists wrongly"
            )
            _require(bytes(obstore.get(store, "raw/a.jsonl").bytes()) == b"{}", "obstore gets wrongly")
    return str(obstore.__version__)


def use_awscrt() -> str:
    """Sign a request, and make what a TLS connection needs."""
    import awscrt
    from awscrt.io import ClientTlsContext, TlsContextOptions

    from handler.aws import Endpoint
    from handler.stores.dynamodb import DynamoDB

    keys = SimpleNamespace(access_key="id", secret_key="not one", token=None)  # noqa: S106
    request = DynamoDB(Endpoint("https://localhost", "us-east-1", lambda: keys)).sign(b"{}")
    _require("Signature=" in (request.headers.get("Authorization") or ""), "awscrt signs wrongly")
    ClientTlsContext(TlsContextOptions())
    return str(awscrt.__version__)


def use_powertools() -> None:
    """Log a line and count a metric; import parts that the handler does not use, but others may."""
    import io

    from aws_lambda_powertools import Logger, Metrics
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver
    from aws_lambda_powertools.metrics import MetricUnit
    from aws_lambda_powertools.utilities.data_classes import S3Event

    stream = io.StringIO()
    Logger(service="smoke", stream=stream).info("hello", extra={"answer": 42})
    _require(json.loads(stream.getvalue())["answer"] == 42, "powertools logs wrongly")
    Metrics(namespace="Smoke", service="smoke").add_metric(name="Runs", unit=MetricUnit.Count, value=1)
    APIGatewayRestResolver()
    S3Event({"Records": []})


def use_handler() -> float:
    """Import the function's entry point, and run its pipeline on a lake of one hour."""
    start = time.perf_counter()
    from handler.app import lambda_handler

    seconds = time.perf_counter() - start
    import pandas as pd
    import polars as pl

    from handler.definitions.layout import training_key
    from handler.definitions.raw import RawContent
    from handler.definitions.schema import feature_schema
    from handler.definitions.spec import FeatureSpec
    from handler.ingest.decoder import decode_readings
    from handler.ingest.framing import FallbackLine
    from handler.lake.lake import Lake
    from handler.pipeline.run import Job, run_pipeline
    from handler.plan import make_plan
    from handler.stores.online import OnlineResult, to_items

    _require(callable(lambda_handler), "handler.app.lambda_handler is not there")
    spec = FeatureSpec.load()
    items: list[Any] = []

    def write_online(rows: Any) -> OnlineResult:
        items.extend(to_items(rows, AS_OF))
        return OnlineResult(written=len(items))

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw/year=2025/month=10/day=15/hour=09"
        raw.mkdir(parents=True)
        lines = [
            {"machine_id": "PUMP-A01", "timestamp_utc": (AS_OF - timedelta(minutes=k)).isoformat(), "vibration_rms": k}
            for k in range(1, 60)
        ]
        text = "\n".join(map(json.dumps, lines)) + "\nno json\n"
        fallback: list[FallbackLine] = []
        (decoded,) = decode_readings([RawContent("a.jsonl", text.encode())], spec, AS_OF, fallback.extend)
        _require(decoded.lines.height == 59, f"the handler's library does not load, or leaves {len(fallback)} lines")
        (raw / "a.jsonl").write_text(text, encoding="utf-8")
        lake = Lake.open(Path(folder).resolve().as_uri())
        plan = make_plan(
            {"as_of": AS_OF.isoformat()}, now=AS_OF, time_window=timedelta(hours=6), lookback=spec.lookback
        )
        job = Job(lake, write_online, spec, AS_OF, lambda _message, _fields: None)
        answer = run_pipeline(plan, job)
        _require(answer["lines"]["accepted"] == 59 and answer["machines"] == 1, f"the handler answers {answer}")
        written = pl.read_parquet(Path(folder) / training_key(AS_OF))
        frame = pd.DataFrame(written.to_dict(as_series=False))
    _require(frame["vibration_rms_mean_1h"].tolist() == [30.0], "the handler's mean is wrong")
    _require(items[0]["vibration_rms_max_1h"] == {"N": "59.0"}, f"the handler's item is {items[0]}")
    _require(set(feature_schema(spec)) <= set(frame.columns), "features are missing")
    return seconds


def check_origins(roots: list[str]) -> int:
    """Check that every module came from the layer or the standard library, and from its bytecode."""
    standard = [path for path in sys.path if path not in roots]
    compiled = 0
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if not origin or name == "__main__":
            continue
        inside = any(Path(origin).is_relative_to(root) for root in roots)
        _require(inside or any(Path(origin).is_relative_to(path) for path in standard), f"{name} came from {origin}")
        if inside and origin.endswith(".py"):
            _require(Path(module.__cached__).exists(), f"{name} has no bytecode")
            compiled += 1
    return compiled


if __name__ == "__main__":
    paths = sys.argv[1:]
    sys.path[:0] = paths[::-1]
    import_seconds = use_handler()
    versions = {
        "polars": use_polars(),
        "numpy": use_numpy(),
        "pandas": use_pandas(),
        "obstore": use_obstore(),
        "awscrt": use_awscrt(),
    }
    use_powertools()
    modules = check_origins(paths)
    print(json.dumps({"versions": versions, "modules": modules, "handler_import_seconds": round(import_seconds, 3)}))
