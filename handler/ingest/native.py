"""The compiled part of the handler: decoder.c, in a library that is called through ctypes.

``make setup`` compiles it, and ``make build`` for the function's package. Where it is not there, the caller does the
same work without it: slower, and the same in the end.
"""

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIBRARY: Final = Path(__file__).with_name("libhandler.so")
POINTER: Final = ctypes.c_void_p


def load_function(name: str, *arguments: type[Any], result: type[Any] | None = None) -> Any:
    """Load a function by its name and types; None where there is no library. It runs without the interpreter's lock."""
    with suppress(OSError):
        function = getattr(ctypes.CDLL(str(LIBRARY)), name)
        function.argtypes, function.restype = arguments, result
        return function
    return None


def address_of(array: "NDArray[Any]") -> int:
    """Give the address of an array's first element; the array must live as long as it is used."""
    address: int = array.__array_interface__["data"][0]
    return address
