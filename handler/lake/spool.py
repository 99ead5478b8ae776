"""Rows that wait to be written, compressed when they are many: two million cost no more than as many good readings."""

import io
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from handler.definitions.schema import Schema, empty_frame
from handler.lake.parquet import encode_parquet

_MOST_BYTES: Final = 8 * 2**20


@dataclass(slots=True)
class Spool:
    """Rows in the order in which they are added.

    Attributes
    ----------
    schema
        Their columns.
    """

    schema: Schema
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _bytes: int = 0
    _rows: int = 0
    _packed: list[bytes] = field(default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows of the spool's columns."""
        if rows.is_empty():
            return
        self._frames.append(rows)
        self._rows += rows.height
        self._bytes += int(rows.estimated_size())
        if self._bytes > _MOST_BYTES:
            self._packed.append(encode_parquet(self._take()))

    def to_parquet(self) -> bytes:
        """Take all rows as one Parquet file, not sealed yet; many are never in memory at a time."""
        rest = encode_parquet(self._take())
        if not self._packed:
            return rest
        packed, self._packed = [*self._packed, rest], []
        buffer = io.BytesIO()
        pl.scan_parquet(packed).sink_parquet(buffer, row_group_size=-(-self._rows // len(packed)))
        return buffer.getvalue()

    def _take(self) -> pl.DataFrame:
        rows = pl.concat([empty_frame(self.schema), *self._frames], rechunk=True)
        self._frames, self._bytes = [], 0
        return rows
