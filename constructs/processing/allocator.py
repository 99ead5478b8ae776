"""The function's memory allocators, set by its environment.

glibc reads it when the process starts. Polars' jemalloc reads it when Polars is loaded, by a name that Lambda refuses:
``handler.app`` hands it on. ``python -m processing.allocator`` prints the variables, by the allocators' own names, for
processes that are to run as the function does.
"""

import sys
from collections.abc import Mapping
from typing import Final

ALLOCATOR: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "JEMALLOC_CONF": "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2",
}
"""glibc, which Python and numpy use, keeps one arena and returns memory only when 64 MiB at its end are free.

Else each thread that parses has an arena of its own, and one live byte at its end keeps all of it. jemalloc, which
Polars brings, returns memory after a second: pages that are used again at once need not be cleared. Figures:
docs/adr/0020.
"""

if __name__ == "__main__":
    own_names = {"JEMALLOC_CONF": "_RJEM_MALLOC_CONF"}
    sys.stdout.write(" ".join(f"{own_names.get(name, name)}={value}" for name, value in ALLOCATOR.items()))
