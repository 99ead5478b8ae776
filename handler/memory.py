"""Memory that is used again, and goes back to the system when there is much of it: allocators are let do neither.

glibc, which numpy and Python use, gives each thread an arena of its own and returns of it only what is free at its
end: batches that are parsed in threads leave holes everywhere. And it returns the end as soon as some megabytes of it
are free, so that buffers that come and go are given clean pages by the kernel each time, a third of all processor
time once. Polars brings jemalloc, which is set to return lazily. With one arena, whose end may be free for 64 MiB and
is trimmed after many partitions, and a second's wait for jemalloc, a run peaks where its first partitions did
(docs/adr/0020). Where there is another allocator, or the user has set it himself, nothing happens here.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import Final

_SETTINGS: Final[Mapping[str, tuple[int, int]]] = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_TRIM_THRESHOLD_": (-1, 64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 * 2**20),
}
"""What glibc is told, by the variable that a user would set: the number of mallopt's parameter, and its value."""

_JEMALLOC: Final = "_RJEM_MALLOC_CONF"


def keep_little() -> None:
    """Set the allocators up; before Polars is imported, and before there are threads."""
    os.environ.setdefault(_JEMALLOC, "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2")
    for variable, (parameter, value) in _SETTINGS.items():
        if variable not in os.environ:
            _call("mallopt", parameter, value)


def give_back() -> None:
    """Return what is free to the system."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
