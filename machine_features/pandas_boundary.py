"""The one place where frames become pandas and back: at the edge, for whoever trains with it."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from handler.definitions.timestamps import INSTANT
from machine_features.errors import ArgumentError, ColumnTypeError
from machine_features.times import have_zone

if TYPE_CHECKING:
    import pandas as pd

_ZONES = ("A", "B", "C", "D")


def to_pandas(frame: pl.DataFrame | pl.LazyFrame, *, writable: bool = True) -> "pd.DataFrame":
    """Convert to pandas, without pyarrow.

    Float64 becomes ``float64`` (null as NaN), Int64 ``int64``, or ``Int64`` where it has nulls: no integer is rounded.
    Boolean becomes ``boolean``, text the installed pandas' string, columns that end in ``_zone`` an ordered categorical
    of A to D. Datetime becomes ``datetime64[us, zone]``, Duration ``timedelta64[us]``.

    Parameters
    ----------
    frame
        Any frame of these types.
    writable
        Whether the values may be changed; if not, numbers share the frame's memory, which takes no time.

    Returns
    -------
    pd.DataFrame
        The same columns and rows, with a RangeIndex.

    Raises
    ------
    ModuleNotFoundError
        If pandas is not installed: ``pip install 'feature-pipeline[pandas]'``.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that only callers of this function pay

    collected = frame.lazy().collect().rechunk()
    columns = {column.name: _convert(column, pd, writable=writable) for column in collected.iter_columns()}
    return pd.DataFrame(columns, index=pd.RangeIndex(collected.height), copy=False)


def _convert(column: pl.Series, pd: Any, *, writable: bool) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        naive = pd.Series(column.dt.replace_time_zone(None).to_numpy(writable=writable), copy=False)
        return naive.dt.tz_localize("UTC").dt.tz_convert(dtype.time_zone) if dtype.time_zone else naive
    if dtype == pl.Boolean:
        return pd.Series(pd.array(column.to_list(), dtype="boolean"))
    if dtype.is_integer() and column.null_count():
        values = column.fill_null(0).to_numpy(writable=True)
        return pd.Series(pd.arrays.IntegerArray(values, column.is_null().to_numpy(writable=True)))
    if dtype.is_float():
        return pd.Series(column.fill_null(float("nan")).to_numpy(writable=writable), copy=False)
    if dtype.is_numeric() or isinstance(dtype, pl.Duration):
        return pd.Series(column.to_numpy(writable=writable), copy=False)
    if column.name.endswith("_zone"):
        codes, _ = _encode(column, pl.Series(_ZONES))
        return pd.Series(pd.Categorical.from_codes(codes, list(_ZONES), ordered=True))
    codes, texts = _encode(column.cast(pl.String), None)
    values = pd.Series([*texts, None], dtype=object).to_numpy()[codes]  # the last is that of the code -1
    text = "str" if int(pd.__version__.split(".")[0]) > 2 else "string"
    return pd.Series(values, dtype=text)


def _encode(column: pl.Series, texts: pl.Series | None) -> tuple[Any, list[str]]:
    """Replace texts by their places in a list of all, null by -1: there are few machines and many rows."""
    texts = column.drop_nulls().unique() if texts is None else texts
    numbers = column.cast(pl.Enum(texts)).to_physical().cast(pl.Int32).fill_null(-1)
    return numbers.to_numpy(), texts.to_list()


def from_pandas(frame: "pd.DataFrame") -> pl.DataFrame:
    """Convert from pandas: frames of entities, and those of :func:`to_pandas`.

    Parameters
    ----------
    frame
        Not its index.

    Returns
    -------
    pl.DataFrame
        NaN stays NaN in floats, NA and NaT become null; times in microseconds, with their zone as UTC.

    Raises
    ------
    ArgumentError
        If two columns have the same name.
    ColumnTypeError
        If a column holds something else than numbers, truth values, text, categories or times.
    """
    names = [str(name) for name in frame.columns]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"pandas has more than one column {name}; rename or drop them")
    return pl.DataFrame([_convert_back(name, frame[key]) for name, key in zip(names, frame.columns, strict=True)])


def _convert_back(name: str, column: "pd.Series[Any]") -> pl.Series:
    kind = str(column.dtype)
    if kind.startswith("datetime64"):
        zone = getattr(column.dtype, "tz", None)
        values = column.dt.tz_convert("UTC").dt.tz_localize(None) if zone is not None else column
        times = pl.Series(name, values.to_numpy(dtype="datetime64[us]"))
        return times.dt.replace_time_zone("UTC").cast(INSTANT) if zone is not None else times
    if kind.startswith("timedelta64"):
        return pl.Series(name, column.to_numpy(dtype="timedelta64[us]"))
    if kind in ("Int64", "boolean", "Float64") or column.dtype.name.startswith(("Int", "UInt")):
        values = _list_values(column)
        return pl.Series(name, values, {"boolean": pl.Boolean, "Float64": pl.Float64}.get(kind, pl.Int64))
    if column.dtype.kind in "iufb":
        return pl.Series(name, column.to_numpy())
    values = _list_values(column)
    if all(value is None or isinstance(value, str) for value in values):
        return pl.Series(name, values, pl.String)
    if all(value is None or isinstance(value, datetime) for value in values):
        return pl.Series(name, values, INSTANT if have_zone(name, values) else pl.Datetime("us"))
    raise ColumnTypeError(f"column {name} of type {kind} holds more than text; convert it first")


def _list_values(column: "pd.Series[Any]") -> list[Any]:
    return [None if is_null else value for value, is_null in zip(column.tolist(), column.isna(), strict=True)]
