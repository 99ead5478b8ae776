"""Rows that wait to be written, compressed when they are many: two million cost no more than as many good readings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from handler.definitions.schema import Schema, empty_frame
from handler.lake.parquet import encode_parquet, join_parquet

_MOST_BYTES: Final = 8 * 2**20


@dataclass(slots=True)
class Spool:
    """Rows in the order in which they are added.

    Attributes
    ----------
    schema
        Their columns.
    most_bytes
        Rows of more bytes are compressed.
    sort_by
        A column by which rows that are compressed at a time are sorted: some are then found without the others.
    rows
        How many were added.
    """

    schema: Schema
    most_bytes: int = _MOST_BYTES
    sort_by: str | None = None
    rows: int = field(init=False, default=0)
    _frames: list[pl.DataFrame] = field(init=False, default_factory=list)
    _bytes: int = field(init=False, default=0)
    _packed: list[bytes] = field(init=False, default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows of the spool's columns."""
        if rows.is_empty():
            return
        self._frames.append(rows)
        self.rows += rows.height
        self._bytes += int(rows.estimated_size())
        if self._bytes > self.most_bytes:
            rows = self._take()
            rows = rows if self.sort_by is None else rows.sort(self.sort_by)
            self._packed.append(encode_parquet(rows))

    def scan(self) -> list[pl.LazyFrame]:
        """Look at all rows, as parts; one at least."""
        packed = [pl.scan_parquet(data) for data in self._packed]
        return [empty_frame(self.schema).lazy(), *packed, *(frame.lazy() for frame in self._frames)]

    def to_parquet(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Take all rows as one Parquet file, not sealed yet; many are never in memory at a time."""
        if not self._packed:
            return encode_parquet(self._take(), metadata)
        packed, self._packed = [*self._packed, encode_parquet(self._take())], []
        return join_parquet(packed, self.rows, metadata)

    def _take(self) -> pl.DataFrame:
        rows = pl.concat([empty_frame(self.schema), *self._frames], rechunk=True)
        self._frames, self._bytes = [], 0
        return rows
