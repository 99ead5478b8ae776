"""The errors of a reader, whatever library found the fault: the handler's tree, and those that only readers meet.

::

    ProcessingError
    ├── ArgumentError            an argument is wrong; it is a ValueError, too
    │   ├── ColumnTypeError      a column of pandas holds something else; it is a TypeError, too
    │   └── UnknownNameError     there is no feature or failure code of this name
    ├── ConfigurationError       the lake, the table or AWS is not where it was said to be
    ├── LakeError                the object store refused, did not answer, or holds a damaged file
    │   └── UnknownPastError     rows cannot be computed as they could be known
    └── OnlineStoreError         the table refused, or did not answer
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from handler.definitions.errors import (
    ConfigurationError,
    DamagedFileError,
    LakeError,
    MissingObjectError,
    OnlineStoreError,
    OvertakenError,
    ProcessingError,
)
from handler.definitions.timestamps import HOUR, format_instant

__all__ = [
    "ArgumentError",
    "ColumnTypeError",
    "ConfigurationError",
    "DamagedFileError",
    "LakeError",
    "MissingObjectError",
    "OnlineStoreError",
    "OvertakenError",
    "ProcessingError",
    "UnknownMachineWarning",
    "UnknownNameError",
    "UnknownPastError",
]

_NAMED: Final = 3
"""Spans, or nearest names, that one message lists."""


class ArgumentError(ProcessingError, ValueError):
    """An argument is of a wrong kind, or says something that cannot be done."""


class UnknownNameError(ArgumentError):
    """There is nothing of a name that was asked for.

    Parameters
    ----------
    kind
        What the name should be of, such as ``"feature"``.
    name
        The name.
    names
        Those that there are.
    """

    def __init__(self, kind: str, name: str, names: Collection[str]) -> None:
        super().__init__(describe_unknown(kind, name, names))
        self.name = name


class ColumnTypeError(ArgumentError, TypeError):
    """A column of pandas holds values that no column here can hold."""


class UnknownMachineWarning(UserWarning):
    """A machine that was asked for is nowhere in the lake."""


class UnknownPastError(LakeError):
    """Rows cannot be computed: partitions that they see have neither usable tiles nor raw objects.

    Parameters
    ----------
    hours
        The rows' instants.
    causes
        Why each partition cannot be used.
    """

    def __init__(self, hours: Sequence[datetime], causes: Mapping[datetime, str]) -> None:
        by_cause: dict[str, list[datetime]] = {}
        for partition, cause in sorted(causes.items()):
            by_cause.setdefault(cause, []).append(partition)
        said = "; ".join(f"of the hours {_list_spans(some)} {cause}" for cause, some in by_cause.items())
        super().__init__(
            f"compute the rows of {_list_spans(hours)}",
            f"{said}; restore them, ask for other hours, or give missing='null'",
        )
        self.hours = tuple(hours)
        self.causes = dict(causes)


def describe_unknown(kind: str, name: str, names: Collection[str]) -> str:
    """Say that there is nothing of a name, and which names are nearest."""
    near = difflib.get_close_matches(name, names, _NAMED)
    return f"there is no {kind} {name}" + (f"; did you mean {', '.join(near)}?" if near else "")


def _list_spans(hours: Sequence[datetime]) -> str:
    """List hours, those that follow each other as one span; of many spans the first."""
    spans: list[list[datetime]] = []
    for hour in sorted(hours):
        if spans and hour - spans[-1][1] <= HOUR:
            spans[-1][1] = hour
        else:
            spans.append([hour, hour])
    return ", ".join(_write_spans(spans[:_NAMED])) + (f" and {len(spans) - _NAMED} more" * (len(spans) > _NAMED))


def _write_spans(spans: Sequence[Sequence[datetime]]) -> Iterator[str]:
    for first, last in spans:
        yield format_instant(first) if first == last else f"{format_instant(first)} to {format_instant(last)}"
