"""Raw objects: which names they have, how a listing shows one, and what its bytes are handed on as."""

import re
from dataclasses import dataclass
from typing import Final

_TELEMETRY: Final = re.compile(r"[^/._][^/]*\.(?:jsonl|ndjson|json)(?:\.gz)?")


def is_telemetry(name: str) -> bool:
    """Tell whether an object of this name holds telemetry.

    Parameters
    ----------
    name
        The name within its partition.

    Returns
    -------
    bool
        False for other endings, for names that begin with a point or an underscore, and for those with a slash.

    Examples
    --------
    >>> [is_telemetry(name) for name in ("a.jsonl", "b.json.gz", "_tmp.jsonl", "deep/a.jsonl", "c.csv")]
    [True, True, False, False, False]
    """
    return _TELEMETRY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class RawObject:
    """One raw object as the listing shows it.

    Attributes
    ----------
    key, size
        Its name, and its bytes.
    e_tag, modified
        What changes with its content; not every store has the first.
    """

    key: str
    size: int
    e_tag: str | None = None
    modified: str = ""

    @property
    def version(self) -> str:
        """Changes whenever the content does."""
        return self.e_tag or self.modified


@dataclass(frozen=True, slots=True)
class RawContent:
    """A raw object's bytes, decompressed, or ``problem`` where it cannot be read; if it ``goes_on``, the first part.

    ``is_gone`` tells that it was listed and then not found.
    """

    key: str
    data: bytes | memoryview = b""
    problem: str | None = None
    goes_on: bool = False
    is_gone: bool = False
