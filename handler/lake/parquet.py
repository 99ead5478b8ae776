"""Parquet in memory: frames to bytes and back, and the footer's key-value metadata."""

import io
from collections.abc import Mapping
from typing import Final, Literal

import polars as pl

TAIL_BYTES: Final = 64 * 2**10
"""Read from a file's end, these hold the footer of every file we write."""

_SMALLEST_ROW_GROUP: Final = 4096
_MOST_ROW_GROUPS: Final = 16
"""So that some machines' rows are read without the others', and the footer stays within the tail."""


def encode_parquet(
    frame: pl.DataFrame,
    metadata: Mapping[str, str] | None = None,
    *,
    compression: Literal["zstd", "lz4"] = "zstd",
    row_groups: int = _MOST_ROW_GROUPS,
) -> bytes:
    """Write a frame as Parquet; equal frames give equal bytes.

    Parameters
    ----------
    frame
        Any frame, sorted as its readers filter it: row groups are slices of it.
    metadata
        Key-value metadata for the footer.
    compression
        ``lz4`` for files that each run reads again, ``zstd`` for all others.
    row_groups
        How many at most; a file of a hundred columns needs a small number, for its footer to be within its tail.

    Returns
    -------
    bytes
        The file.
    """
    buffer = io.BytesIO()
    group = max(_SMALLEST_ROW_GROUP, -(-frame.height // row_groups))
    frame.write_parquet(buffer, compression=compression, row_group_size=group, metadata=dict(metadata or {}))
    return buffer.getvalue()


def read_metadata(data: bytes) -> Mapping[str, str]:
    """Read the footer's key-value metadata from a file, or from its tail; nothing where there is no footer."""
    try:
        return pl.read_parquet_metadata(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError, ValueError):
        return {}
