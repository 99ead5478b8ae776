"""What the manifest says of each distribution in the layer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Content:
    """One distribution in the layer, and what became of its bytes.

    Attributes
    ----------
    name, version, licence
        As its metadata says.
    wheel, sha256
        The wheel it came from.
    unpacked, pruned, stripped, emptied, bytecode
        Bytes: of the wheel's files, taken by pruning, by stripping, by emptying docstrings, added by bytecode.
    size
        Bytes in the layer.
    """

    name: str
    version: str
    licence: str
    wheel: str
    sha256: str
    unpacked: int
    pruned: int
    stripped: int
    emptied: int
    bytecode: int
    size: int


def describe_contents(contents: Sequence[Content]) -> list[dict[str, Any]]:
    """Return the distributions as plain data."""
    return [asdict(content) for content in contents]
