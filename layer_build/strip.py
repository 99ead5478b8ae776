"""Stage 5, strip: libraries without the symbols and debug data that only debuggers read.

Done here rather than by binutils: the result is then the same on every machine and for every architecture. The bytes
that the loader maps stay where they are; binutils moves them, which breaks libraries that auditwheel has patched.

References
----------
Tool Interface Standard, *Executable and Linking Format Specification*, version 1.2; System V gABI, chapters 4 and 5.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from layer_build.errors import StripError

MAGIC: Final = b"\x7fELF"
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_ELF64_LITTLE_ENDIAN: Final = b"\x02\x01"
_ALLOC: Final = 0x2
_NULL, _STRTAB, _NOBITS = 0, 3, 8


@dataclass(frozen=True, slots=True)
class _Section:
    name: bytes
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def is_loaded(self) -> bool:
        return bool(self.flags & _ALLOC)


def strip_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Strip every ELF file of a tree; a file that would not get smaller stays as it is.

    Parameters
    ----------
    files
        Bytes by path.

    Returns
    -------
    dict of str to bytes
        The same paths, in the same order.

    Raises
    ------
    StripError
        Naming the file that cannot be stripped.
    """
    stripped = {}
    for path, data in files.items():
        stripped[path] = data
        if data.startswith(MAGIC):
            try:
                stripped[path] = min(strip_library(data), data, key=len)
            except (struct.error, IndexError, ValueError) as error:
                raise StripError(f"{path} cannot be stripped: {error}; build with --no-strip to go on") from error
    return stripped


def strip_library(data: bytes) -> bytes:
    """Take out of a shared library every section that is not loaded: symbol and string tables, debug data.

    Every segment keeps its offset and its bytes, and every section that stays keeps its number, so the loader sees
    the same library. Space between segments is filled with zeros.

    Parameters
    ----------
    data
        A 64-bit little-endian ELF file with section headers.

    Returns
    -------
    bytes
        Equal for equal input, and as it was when stripped again.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    if not data.startswith(MAGIC + _ELF64_LITTLE_ENDIAN):
        raise ValueError("it is no 64-bit little-endian ELF file")
    header = list(_HEADER.unpack_from(data))
    segments_at, sections_at, segment_count, section_count, names_index = (header[k] for k in (5, 6, 10, 12, 13))
    if not sections_at or not section_count:
        return data
    segments = [_SEGMENT.unpack_from(data, segments_at + k * _SEGMENT.size) for k in range(segment_count)]
    sections = _read_sections(data, sections_at, section_count, names_index)
    loaded = [(0, segments_at + segment_count * _SEGMENT.size)]
    loaded += [(offset, offset + size) for _, _, offset, _, _, size, _, _ in segments if size]
    loaded += [(s.offset, s.offset + s.size) for s in sections if s.is_loaded and s.type != _NOBITS]
    body = _blank_gaps(data, loaded)
    kept = sections[: 1 + max((k for k, section in enumerate(sections) if section.is_loaded), default=0)]
    kept = [section if section.is_loaded else _EMPTY for section in kept]
    _check_links(kept)
    names = b"\0" + b"".join(section.name + b"\0" for section in kept if section.name) + b".shstrtab\0"
    kept.append(_Section(b".shstrtab", _STRTAB, 0, 0, len(body), len(names), 0, 0, 1, 0))
    table_at = -(-(len(body) + len(names)) // 8) * 8
    header[6], header[12], header[13] = table_at, len(kept), len(kept) - 1
    padding = bytes(table_at - len(body) - len(names))
    return _HEADER.pack(*header) + body[_HEADER.size :] + names + padding + _write_sections(kept, names)


_EMPTY: Final = _Section(b"", _NULL, 0, 0, 0, 0, 0, 0, 0, 0)


def _read_sections(data: bytes, at: int, count: int, names_index: int) -> list[_Section]:
    rows = [_SECTION.unpack_from(data, at + k * _SECTION.size) for k in range(count)]
    names_at, names_size = rows[names_index][4], rows[names_index][5]
    names = data[names_at : names_at + names_size]
    return [_Section(names[row[0] : names.index(b"\0", row[0])], *row[1:]) for row in rows]


def _write_sections(sections: list[_Section], names: bytes) -> bytes:
    table = b""
    for section in sections:
        name = names.index(b"\0" + section.name + b"\0") + 1 if section.name else 0
        table += _SECTION.pack(
            name, section.type, section.flags, section.address, section.offset, section.size, section.link,
            section.info, section.alignment, section.entry_size,
        )  # fmt: skip
    return table


def _blank_gaps(data: bytes, loaded: list[tuple[int, int]]) -> bytes:
    """Copy the loaded stretches to where they were, up to the end of the last, with zeros between them."""
    end = max(stop for _, stop in loaded)
    if end > len(data):
        raise ValueError("it is cut off")
    body = bytearray(end)
    for start, stop in loaded:
        body[start:stop] = data[start:stop]
    return bytes(body)


def _check_links(kept: list[_Section]) -> None:
    for section in kept:
        if section.link and not (section.link < len(kept) and kept[section.link].is_loaded):
            raise ValueError(f"its loaded section {section.name.decode()} refers to one that is not")
