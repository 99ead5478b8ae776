"""The same features as users of other tools would compute them; each stops at what its tool has, and trusts its input.

All take the raw files and give one row a machine and reading, over all lines: the statistics of one window.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from tsflex.features import FeatureCollection, FuncWrapper, MultipleFeatureDescriptors

READINGS: Final = ("temperature_celsius", "vibration_rms")
STATISTICS: Final = (
    "count", "mean", "min", "max", "range", "std", "first", "last", "rms", "crest_factor", "skew", "kurtosis",
    "slope_per_hour",
)  # fmt: skip
COLUMNS: Final = ("machine_id", "reading", *STATISTICS)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to the same features.

    Attributes
    ----------
    name
        What the table calls it.
    compute
        From raw files to the tool's own result; this is what is timed.
    to_frame
        From that result to ``COLUMNS``; not timed.
    """

    name: str
    compute: Callable[[Sequence[Path]], Any]
    to_frame: Callable[[Any], pl.DataFrame]


def compute_with_python(files: Sequence[Path]) -> list[tuple[Any, ...]]:
    """Compute in plain Python: ``json`` and dicts."""
    series: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
    for path in files:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                time = datetime.fromisoformat(row["timestamp_utc"])
                for reading in READINGS:
                    if reading in row:
                        series.setdefault((row["machine_id"], reading), []).append((time, row[reading]))
    return [(*key, *_summarize(points)) for key, points in series.items()]


def _summarize(points: list[tuple[datetime, float]]) -> tuple[float | None, ...]:
    points.sort()
    n = len(points)
    start = points[0][0]
    values = [value for _, value in points]
    hours = [(time - start).total_seconds() / 3600 for time, _ in points]
    mean, middle = sum(values) / n, sum(hours) / n
    low, high = min(values), max(values)
    m2 = m3 = m4 = t2 = cross = squares = 0.0
    for value, hour in zip(values, hours, strict=True):
        d, e = value - mean, hour - middle
        m2 += d * d
        m3 += d * d * d
        m4 += d * d * d * d
        t2 += e * e
        cross += d * e
        squares += value * value
    rms = math.sqrt(squares / n)
    return (
        n,
        mean,
        low,
        high,
        high - low,
        math.sqrt(m2 / (n - 1)) if n > 1 else None,
        values[0],
        values[-1],
        rms,
        max(abs(low), abs(high)) / rms if rms else None,
        m3 / n / (m2 / n) ** 1.5 if high > low else None,
        m4 / n / (m2 / n) ** 2 - 3 if high > low else None,
        cross / t2 if t2 else None,
    )


def compute_with_pandas(files: Sequence[Path]) -> pd.DataFrame:
    """Compute with pandas: ``read_json(lines=True)`` and vectorized groupbys."""
    frames = [pd.read_json(path, lines=True, convert_dates=False, dtype=False) for path in files]
    wide = pd.concat(frames, ignore_index=True)
    wide["time"] = pd.to_datetime(wide["timestamp_utc"], format="ISO8601", utc=True)
    long = pd.concat(
        wide.loc[wide[reading].notna(), ["machine_id", "time"]].assign(reading=reading, value=wide[reading])
        for reading in READINGS
    ).sort_values("time")
    keys = ["machine_id", "reading"]
    groups = long.groupby(keys)["value"]
    rows = groups.agg(["count", "mean", "min", "max", "std", "first", "last"])
    long["t"] = (long["time"] - long["time"].min()).dt.total_seconds() / 3600
    middles = long.groupby(keys)[["value", "t"]].transform("mean")
    d, e = long["value"] - middles["value"], long["t"] - middles["t"]
    powers = long[keys].assign(m2=d**2, m3=d**3, m4=d**4, t2=e**2, cross=d * e, squares=long["value"] ** 2)
    m = powers.groupby(keys).mean()
    rows["range"] = rows["max"] - rows["min"]
    rows["rms"] = np.sqrt(m["squares"])
    rows["crest_factor"] = rows[["min", "max"]].abs().max(axis=1) / rows["rms"]
    rows["skew"] = m["m3"] / m["m2"] ** 1.5
    rows["kurtosis"] = m["m4"] / m["m2"] ** 2 - 3
    rows["slope_per_hour"] = m["cross"] / m["t2"]
    return rows.reset_index()


def compute_with_duckdb(files: Sequence[Path]) -> list[tuple[Any, ...]]:
    """Compute with DuckDB: an explicit schema, and one query."""
    with duckdb.connect() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(_QUERY, [[str(path) for path in files]]).fetchall()
    return rows


def _sql_statistics(reading: str) -> str:
    return f"""
        count({reading}), avg({reading}), min({reading}), max({reading}), max({reading}) - min({reading}),
        stddev_samp({reading}), arg_min({reading}, timestamp_utc), arg_max({reading}, timestamp_utc),
        sqrt(avg({reading} * {reading})), max(abs({reading})) / sqrt(avg({reading} * {reading})),
        skewness({reading}) * (count({reading}) - 2) / sqrt(count({reading}) * (count({reading}) - 1)),
        kurtosis_pop({reading}), regr_slope({reading}, epoch(timestamp_utc) / 3600)"""


_QUERY: Final = f"""
    SELECT machine_id, {",".join(_sql_statistics(reading) for reading in READINGS)}
    FROM read_json($1, format = 'newline_delimited', columns = {{
        machine_id: 'VARCHAR', timestamp_utc: 'TIMESTAMP', {", ".join(f"{reading}: 'DOUBLE'" for reading in READINGS)}
    }})
    GROUP BY machine_id"""  # noqa: S608 - made of constants


def _split_readings(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """Turn one row a machine into one row a machine and reading."""
    width = len(STATISTICS)
    return _from_tuples(
        [
            (row[0], reading, *row[1 + i * width : 1 + (i + 1) * width])
            for row in rows
            for i, reading in enumerate(READINGS)
            if row[1 + i * width]
        ]
    )


def compute_with_polars(files: Sequence[Path]) -> pl.DataFrame:
    """Compute with Polars as one writes it in ten lines."""
    schema = {"machine_id": pl.String, "timestamp_utc": pl.String, **dict.fromkeys(READINGS, pl.Float64)}
    v, t = pl.col("value"), pl.col("time")
    hours = t.dt.epoch("us") / 3.6e9
    lines = pl.scan_ndjson(list(files), schema=schema)
    timed = lines.with_columns(time=pl.col("timestamp_utc").str.to_datetime(time_unit="us", time_zone="UTC"))
    long = timed.unpivot(READINGS, index=["machine_id", "time"], variable_name="reading").drop_nulls("value")
    return long.group_by("machine_id", "reading").agg(
        count=pl.len(), mean=v.mean(), min=v.min(), max=v.max(), range=v.max() - v.min(), std=v.std(),
        first=v.get(t.arg_min()), last=v.get(t.arg_max()), rms=(v * v).mean().sqrt(),
        crest_factor=v.abs().max() / (v * v).mean().sqrt(), skew=v.skew(), kurtosis=v.kurtosis(),
        slope_per_hour=pl.cov(v, hours) / hours.var(),
    ).collect(engine="streaming")  # fmt: skip


def _from_tuples(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=list(COLUMNS), orient="row", infer_schema_length=None)


def _from_pandas(rows: pd.DataFrame) -> pl.DataFrame:
    return pl.DataFrame({name: rows[name].to_list() for name in COLUMNS})


PANDAS: Final = Peer("pandas", compute_with_pandas, _from_pandas)
POLARS: Final = Peer("Polars in ten lines", compute_with_polars, lambda frame: frame)
DUCKDB: Final = Peer("DuckDB", compute_with_duckdb, _split_readings)
PYTHON: Final = Peer("plain Python", compute_with_python, _from_tuples)


def split_into_series(readings: pl.DataFrame) -> list[pd.Series]:
    """Turn parsed lines into what tsflex takes: a pandas series a machine and reading, over time."""
    series = []
    for reading in READINGS:
        points = readings.select("machine_id", "event_time", pl.col(reading)).drop_nans(reading).sort("event_time")
        for (machine,), group in points.group_by("machine_id", maintain_order=True):
            index = pd.DatetimeIndex(group["event_time"].dt.replace_time_zone(None).to_numpy())
            series.append(pd.Series(group[reading].to_numpy(), index=index, name=f"{machine}/{reading}"))
    return series


def compute_with_tsflex(series: Sequence[pd.Series], end: datetime, window: timedelta) -> list[tuple[Any, ...]]:
    """Compute with tsflex, from parsed series: one function for all statistics, one window that ends at ``end``."""
    names = [str(item.name) for item in series]
    collection = FeatureCollection(
        MultipleFeatureDescriptors(
            FuncWrapper(_summarize_series, output_names=list(STATISTICS), input_type=pd.Series),
            names,
            pd.Timedelta(window),
        )
    )
    stop = pd.Timestamp(end.replace(tzinfo=None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the window reaches past the readings
        frames = collection.calculate(
            list(series),
            segment_start_idxs=[stop - window],
            segment_end_idxs=[stop],
            bound_method="outer",
            approve_sparsity=True,
            return_df=False,
            n_jobs=1,
        )
    values: dict[str, dict[str, float]] = {name: {} for name in names}
    for frame in frames:
        for column in frame.columns:
            name, statistic = str(column).split("__")[:2]
            values[name][statistic] = float(frame[column].iloc[0])
    return [(*name.split("/"), *(row[statistic] for statistic in STATISTICS)) for name, row in values.items()]


def tsflex_to_frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """Lay out the result of :func:`compute_with_tsflex` in ``COLUMNS``."""
    return _from_tuples(rows)


def _summarize_series(series: pd.Series) -> tuple[float, ...]:
    v = series.to_numpy()
    t = (series.index.to_numpy() - series.index.to_numpy()[0]) / np.timedelta64(1, "h")
    mean = v.mean()
    d, e = v - mean, t - t.mean()
    m2 = (d**2).mean()
    rms = math.sqrt((v * v).mean())
    return (
        v.size,
        mean,
        v.min(),
        v.max(),
        np.ptp(v),
        v.std(ddof=1),
        v[0],
        v[-1],
        rms,
        np.abs(v).max() / rms,
        (d**3).mean() / m2**1.5,
        (d**4).mean() / m2**2 - 3,
        (d @ e) / (e @ e),
    )


def select_window(rows: pl.DataFrame, window: str) -> pl.DataFrame:
    """Lay out the handler's feature rows as the peers' ``COLUMNS``, for one window."""
    parts = [
        rows.select(
            "machine_id",
            pl.lit(reading).alias("reading"),
            *(pl.col(f"{reading}_{statistic}_{window}").alias(statistic) for statistic in STATISTICS),
        ).filter(pl.col("count") > 0)
        for reading in READINGS
    ]
    return pl.concat(parts)


TOLERANCES: Final[Mapping[str, float]] = {"skew": 1e-6, "kurtosis": 1e-6, "slope_per_hour": 1e-6}


def check_equal(ours: pl.DataFrame, theirs: pl.DataFrame, name: str) -> None:
    """Hold two results in ``COLUMNS`` against each other, in the contract's tolerances."""
    keys = ["machine_id", "reading"]
    ours, theirs = ours.sort(keys), theirs.select(COLUMNS).sort(keys)
    assert ours.select(keys).equals(theirs.select(keys)), f"{name}: other machines or readings"
    for statistic in STATISTICS:
        a, b = (frame[statistic].cast(pl.Float64).fill_null(float("nan")).to_numpy() for frame in (ours, theirs))
        tolerance = TOLERANCES.get(statistic, 1e-9)
        is_close = np.isclose(a, b, rtol=tolerance, atol=1e-9, equal_nan=True)
        assert is_close.all(), f"{name}: {statistic} {a[~is_close][:3]} against {b[~is_close][:3]}"
