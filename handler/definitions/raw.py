"""Raw objects: how a listing shows one, and what its bytes are handed on as."""

from dataclasses import dataclass


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
    """A raw object's bytes, decompressed, or ``problem`` where it cannot be read; if it ``goes_on``, the first part."""

    key: str
    data: bytes | memoryview = b""
    problem: str | None = None
    goes_on: bool = False
