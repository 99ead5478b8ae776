"""The one place where a frame becomes pandas: at the edge, for whoever trains with it. The function never goes here."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    """Convert feature rows to pandas, without pyarrow (which does not fit into a Lambda's layers).

    Instants become ``datetime64[us, UTC]``, numbers ``float64`` (null as NaN) or ``int64``, text ``object`` (null as
    None).

    Parameters
    ----------
    frame
        For example the rows :func:`machine_features.training.read_training` returns.

    Returns
    -------
    pd.DataFrame
        The same columns and rows, with a RangeIndex.

    Raises
    ------
    ModuleNotFoundError
        If pandas is not installed.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that only callers of this function pay

    columns = {}
    for column in frame.iter_columns():
        if isinstance(column.dtype, pl.Datetime):
            naive = pd.Series(column.dt.replace_time_zone(None).to_numpy(), copy=False)
            columns[column.name] = naive.dt.tz_localize(column.dtype.time_zone) if column.dtype.time_zone else naive
        else:
            values = column.to_list() if column.dtype == pl.String else column.to_numpy()
            columns[column.name] = pd.Series(values, dtype=object if column.dtype == pl.String else None)
    return pd.DataFrame(columns)
