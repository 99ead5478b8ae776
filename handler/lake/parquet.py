"""Parquet in memory: frames to bytes, sealed with digests, which are checked when a file is read.

A sealed file is a Parquet file like any other. Its seal lies between the last page and the footer. Readers do not look
there, since the footer tells where each page is. These parts follow each other::

    pages | note | length of the note | digest of the pages | digest of the seal and footer | mark | footer

The footer and the seal are checked from the file's tail alone. The pages are checked when all of the file is read.
"""

import hashlib
import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import polars as pl

TAIL_BYTES: Final = 64 * 2**10
"""Bytes to read from a file's end at first: they hold most footers, and say how long any other is."""

_SMALLEST_ROW_GROUP: Final = 4096
_MOST_ROW_GROUPS: Final = 16
"""So that some machines' rows are read without the others'; each group makes the footer longer."""

_MAGIC: Final = b"PAR1"
_MARK: Final = b"\x00sealed\x01"
_LENGTH: Final = struct.Struct("<I")
_SEAL: Final = struct.Struct("<I32s32s8s")
"""The seal after its note: the length of the note, both digests, the mark."""


def encode_parquet(
    frame: pl.DataFrame,
    metadata: Mapping[str, str] | None = None,
    *,
    row_groups: int = _MOST_ROW_GROUPS,
) -> bytes:
    """Write a frame as Parquet; equal frames give equal bytes.

    Parameters
    ----------
    frame
        Any frame, sorted as its readers filter it: row groups are slices of it.
    metadata
        Key-value metadata for the footer.
    row_groups
        How many at most; a file of a hundred columns needs a small number, for its footer to be short.

    Returns
    -------
    bytes
        The file, not sealed yet.
    """
    buffer = io.BytesIO()
    size = _size_row_groups(frame.height, row_groups)
    frame.write_parquet(buffer, row_group_size=size, metadata=dict(metadata or {}))
    return buffer.getvalue()


def join_parquet(parts: Sequence[bytes], rows: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """Join files of the same columns into one, without all rows in memory.

    Parameters
    ----------
    parts
        As :func:`encode_parquet` returns them.
    rows
        How many they have in all.
    metadata
        As of :func:`encode_parquet`.

    Returns
    -------
    bytes
        The file, not sealed yet.
    """
    buffer = io.BytesIO()
    size = _size_row_groups(rows, _MOST_ROW_GROUPS)
    pl.scan_parquet(list(parts)).sink_parquet(buffer, row_group_size=size, metadata=dict(metadata or {}))
    return buffer.getvalue()


def _size_row_groups(rows: int, most: int) -> int:
    return max(_SMALLEST_ROW_GROUP, -(-rows // most))


def seal(parquet: bytes, note: Mapping[str, str] | None = None) -> bytes:
    """Seal a file.

    Parameters
    ----------
    parquet
        As :func:`encode_parquet` returns it.
    note
        Whatever becomes known after the file was encoded.

    Returns
    -------
    bytes
        The sealed file.
    """
    start = len(parquet) - _measure_footer(parquet)
    pages, footer = memoryview(parquet)[:start], parquet[start:]
    text = json.dumps(note or {}).encode()
    head = text + _LENGTH.pack(len(text)) + hashlib.sha256(pages).digest()
    return b"".join((pages, head, hashlib.sha256(head + footer).digest(), _MARK, footer))


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal that holds for the footer beside it.

    Attributes
    ----------
    note
        What was added when the file was sealed.
    metadata
        The footer's key-value metadata.
    """

    note: Mapping[str, str]
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """Read the seal of a file, or of its tail; None where it has no seal that holds.

        Of a file that is no longer than its tail, the pages are checked too.

        Parameters
        ----------
        data
            The whole file, or its last bytes: ``TAIL_BYTES`` at least, and all that :func:`measure_tail` asks for.

        Returns
        -------
        Seal or None
            What it says.
        """
        parts = _find_seal(data)
        if parts is None or (len(data) < TAIL_BYTES and not _are_pages_whole(data, parts)):
            return None
        return cls(json.loads(parts.note), pl.read_parquet_metadata(io.BytesIO(_MAGIC + data[parts.footer_start :])))


class UnsealedFooter(NamedTuple):
    """The footer of a file that was written before files were sealed."""

    metadata: Mapping[str, str]
    columns: Sequence[str]

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """Read the footer of a file, or of its tail; None where it was sealed, or is no Parquet file.

        Parameters
        ----------
        data
            The whole file, or its last ``TAIL_BYTES``.

        Returns
        -------
        UnsealedFooter or None
            What it says.
        """
        start = len(data) - _measure_footer(data)
        if start <= 0 or data[max(0, start - len(_MARK)) : start] == _MARK:
            return None
        footer = _MAGIC + data[start:]
        try:
            return cls(pl.read_parquet_metadata(io.BytesIO(footer)), list(pl.read_parquet_schema(io.BytesIO(footer))))
        except pl.exceptions.PolarsError:
            return None


def is_whole(data: bytes) -> bool:
    """Tell whether a file is as it was sealed, to the last bit.

    Parameters
    ----------
    data
        All of the file.

    Returns
    -------
    bool
        False also where it was never sealed.
    """
    parts = _find_seal(data)
    return parts is not None and _are_pages_whole(data, parts)


def measure_tail(data: bytes) -> int:
    """Measure the tail of a file that holds its footer and seal, as its last bytes state; 0 where it is not sealed.

    Bytes without all of the seal say only how long a tail has to be that holds more of it.
    """
    footer = _measure_footer(data)
    note_end = len(data) - footer - _SEAL.size
    if not footer or note_end < 0:
        return footer and footer + _SEAL.size
    note, _, _, mark = _SEAL.unpack_from(data, note_end)
    return footer + _SEAL.size + note if mark == _MARK else 0


@dataclass(frozen=True, slots=True)
class _Parts:
    pages_end: int
    note: bytes
    pages_digest: bytes
    footer_start: int


def _are_pages_whole(data: bytes, parts: _Parts) -> bool:
    return hashlib.sha256(memoryview(data)[: parts.pages_end]).digest() == parts.pages_digest


def _find_seal(data: bytes) -> _Parts | None:
    """Find the parts of a seal that holds, in a file or its tail."""
    footer_start = len(data) - _measure_footer(data)
    note_end = footer_start - _SEAL.size
    if footer_start == len(data) or note_end < 0:
        return None
    note, pages_digest, digest, mark = _SEAL.unpack_from(data, note_end)
    pages_end = note_end - note
    head = data[max(pages_end, 0) : footer_start - len(digest) - len(mark)]
    if mark != _MARK or hashlib.sha256(head + data[footer_start:]).digest() != digest:
        return None
    return _Parts(pages_end, data[pages_end:note_end], pages_digest, footer_start)


def _measure_footer(data: bytes) -> int:
    """Measure the footer with its length and the magic number, as the last bytes of a file state; 0 without one."""
    if data[-len(_MAGIC) :] != _MAGIC or len(data) < _LENGTH.size + len(_MAGIC):
        return 0
    length: int = _LENGTH.unpack_from(data, len(data) - _LENGTH.size - len(_MAGIC))[0]
    return length + _LENGTH.size + len(_MAGIC)
