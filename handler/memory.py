"""Memory that goes back to the system: allocators keep it for themselves if they are let.

glibc, which numpy and Python use, gives each thread an arena of its own and returns of it only what is free at its
end: batches that are parsed in threads leave holes everywhere. Polars brings jemalloc, which is set to return late
and lazily. The peak of a run so grew with each partition. With one arena that is trimmed after each partition, and
nothing kept back, it stays where the first one had it (docs/performance.md). Where there is another allocator, or the
user has set it himself, nothing happens here.
"""

import ctypes
import os
from typing import Final

_M_ARENA_MAX: Final = -8
_JEMALLOC: Final = "_RJEM_MALLOC_CONF"


def keep_little() -> None:
    """Set the allocators up; before Polars is imported, and before there are threads."""
    os.environ.setdefault(_JEMALLOC, "background_thread:true,dirty_decay_ms:0,muzzy_decay_ms:0,narenas:2")
    if "MALLOC_ARENA_MAX" not in os.environ:
        _call("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free to the system."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
