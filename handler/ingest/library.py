"""The compiled decoder, loaded: its structures and its two functions. The one module that uses ctypes.

The library describes its structures itself (``layout.h``), so that no offset is written down twice.
"""

import ctypes
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

LIBRARY: Final = Path(__file__).with_name("libdecoder.so")
_SCALARS: Final[Mapping[str, type[Any]]] = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8,
    "uint64_t": ctypes.c_uint64,
    "double": ctypes.c_double,
}
_MEMBERS: Final = {
    "Field": "name name_length kind lowest highest",
    "FallbackLine": "offset length number",
    "Decoder": "text text_length offset line_number fields field_count reading_count latest key_low key_high machines "
    "times readings row_count row_capacity is_ordered unknown_count names name_ends last_times machine_count "
    "machine_capacity slots slot_mask fallback fallback_count fallback_capacity",
}
"""The members that ``decoder.py`` fills and reads, in any order."""

_STRUCTURE: Final = re.compile(r"(\w+)\{(.*?)\}")
_MEMBER: Final = re.compile(r"(?:const )?(\w+)( \*)? (\w+);")
_logger: Final = logging.getLogger(__name__)


class LayoutError(Exception):
    """The structures of a library are not those that the handler fills."""


class Library:
    """A loaded library.

    Parameters
    ----------
    path
        The library's file.

    Raises
    ------
    OSError
        If there is no library, or it is for another platform.
    LayoutError
        If its structures are not those that the handler fills.
    """

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path))
        self._elements: dict[str, np.dtype[Any]] = {}
        self._structures = self._build_structures(_read_layout(loaded))
        pointer = ctypes.POINTER(self._structures["Decoder"])
        self._decode_lines = ctypes.CFUNCTYPE(ctypes.c_bool, pointer)(("decode_lines", loaded))
        self._place_machines = ctypes.CFUNCTYPE(None, pointer)(("place_machines", loaded))

    @classmethod
    def load(cls, path: Path = LIBRARY) -> Self | None:
        """Load a library; None where the file is missing, and None with a warning where it does not fit."""
        try:
            return cls(path)
        except (LayoutError, AttributeError) as error:
            _logger.warning("%s is not used: %s. Lines are decoded without it, slower.", path, error)
        except OSError:
            pass
        return None

    def make_decoder(self) -> Any:
        """Make the state of a batch, all zero: ``Decoder`` of ``layout.h``."""
        return self._structures["Decoder"]()

    def make_array(self, member: str, *shape: int) -> NDArray[Any]:
        """Make an array, not initialized, for a pointer of ``Decoder``; structures have their members' names."""
        return np.empty(shape, self._elements[member])

    def decode_lines(self, decoder: Any) -> bool:
        """Decode until the text ends, then give True, or until an array is full. Python's lock is free meanwhile."""
        return bool(self._decode_lines(decoder))

    def place_machines(self, decoder: Any) -> None:
        """Put all machines into the slots, which are all 0."""
        self._place_machines(decoder)

    def _build_structures(self, layout: str) -> dict[str, type[ctypes.Structure]]:
        structures: dict[str, type[ctypes.Structure]] = {}
        for structure, members in _STRUCTURE.findall(layout):
            fields = []
            for kind, is_pointer, name in _MEMBER.findall(members):
                element = structures.get(kind) or _SCALARS.get(kind)
                if element is None:
                    raise LayoutError(f"{structure}.{name} is of the type {kind}, which the handler does not know")
                fields.append((name, ctypes.c_void_p if is_pointer else element))
                if is_pointer:
                    self._elements[name] = np.dtype(element)
            structures[structure] = type(structure, (ctypes.Structure,), {"_fields_": fields})
        for structure, names in _MEMBERS.items():
            found = {name for name, _ in getattr(structures.get(structure), "_fields_", ())}
            for name in sorted(found ^ set(names.split())):
                raise LayoutError(f"{structure}.{name} is {'not known' if name in found else 'missing'}")
        return structures


def _read_layout(loaded: ctypes.CDLL) -> str:
    try:
        return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(loaded, "decoder_layout"))).decode()
    except ValueError:
        raise LayoutError("it does not describe its structures") from None
