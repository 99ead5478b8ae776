"""Where a build keeps what the next one need not make again: wheels, layers, libraries, the compiler's own files."""

import os
from pathlib import Path


def find_cache() -> Path:
    """Find the folder of this user's cache, which need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "feature-pipeline"
