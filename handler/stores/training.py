"""The training set: one Parquet file an as_of hour, one row a machine, and in its footer what it was made of."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import polars as pl

from handler.definitions.layout import training_key
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, format_instant
from handler.lake.lake import Lake
from handler.lake.parquet import Seal, UnsealedFooter, encode_parquet, seal

_FORMAT: Final = 1
"""Counted up whenever equal tiles would give other rows, so that training files are written again."""

_TEXT, _DIGEST, _MADE_BY, _MADE_OF = "features.toml", "features.sha256", "made_by.sha256", "made_of.sha256"
_PARTITIONS: Final = "made_of.partitions"
_ROWS: Final = "rows"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a training file was made of.

    Attributes
    ----------
    made_by
        A digest of the features, the allowed lateness, and the format of the rows.
    made_of
        A digest of the partitions that its rows see, and of the state of each.
    features
        The text of the features.toml, for whoever reads the file; words and comments may differ.
    partitions
        Those partitions, as hours since 1970, ascending; None where the file does not say it.
    rows
        How many rows the file has.
    """

    made_by: str
    made_of: str
    features: str = field(compare=False)
    partitions: tuple[int, ...] | None = field(default=None, compare=False)
    rows: int = field(default=0, compare=False)

    @classmethod
    def describe(cls, spec: FeatureSpec, allowed_lateness: timedelta, partitions: Mapping[datetime, str]) -> Self:
        """Describe what rows are made of.

        Parameters
        ----------
        spec
            What features are.
        allowed_lateness
            How late a reading may arrive and still count.
        partitions
            The fingerprint of the tile file of each partition that holds a reading which the rows see.

        Returns
        -------
        Origin
            Equal for equal rows.
        """
        made_by = f"{_FORMAT}:{allowed_lateness // HOUR}:{spec.digest}"
        states = sorted((format_instant(partition), state) for partition, state in partitions.items())
        numbers = tuple(sorted((partition - _EPOCH) // HOUR for partition in partitions))
        return cls(_hash(made_by), _hash(json.dumps(states)), spec.text, numbers)

    @property
    def digest(self) -> str:
        """The digest of the features.toml, as the footer says it."""
        return _hash(self.features)

    def list_partitions(self) -> set[datetime] | None:
        """List the partitions; None where the file does not say them."""
        return None if self.partitions is None else {_EPOCH + number * HOUR for number in self.partitions}

    def to_metadata(self) -> dict[str, str]:
        """Write it as Parquet key-value metadata."""
        return {
            _TEXT: self.features,
            _DIGEST: self.digest,
            _MADE_BY: self.made_by,
            _MADE_OF: self.made_of,
            _PARTITIONS: json.dumps(self.partitions),
        }

    @classmethod
    def read(cls, tail: bytes) -> Self | None:
        """Read it from a training file of any release, or its tail; None where this is damaged.

        Before files were sealed they did not say what they were made of, nor, at first, their features. Such an origin
        is equal to no other.
        """
        found = Seal.read(tail)
        origin = cls.from_seal(found)
        if found is not None and origin is not None:
            return origin if _ROWS in found.metadata else replace(origin, made_by="")
        old = UnsealedFooter.read(tail)
        # A file that says what it was made of was sealed, though its seal cannot be read.
        return None if old is None or _MADE_BY in old.metadata else cls("", "", old.metadata.get(_TEXT, ""))

    @classmethod
    def from_seal(cls, found: Seal | None) -> Self | None:
        """Read it from a file's seal; None where this does not hold it."""
        if found is None or not {_MADE_BY, _MADE_OF, _TEXT} <= found.metadata.keys():
            return None
        numbers = json.loads(found.metadata.get(_PARTITIONS, "null"))
        partitions = None if numbers is None else tuple(numbers)
        text = sys.intern(found.metadata[_TEXT])  # a long span has one for each hour
        rows = int(found.metadata.get(_ROWS, 0))
        return cls(found.metadata[_MADE_BY], found.metadata[_MADE_OF], text, partitions, rows)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_training_hours(lake: Lake, hours: Mapping[datetime, Origin], rows: pl.DataFrame, created: datetime) -> None:
    """Write the training files of some hours, in the place of earlier ones.

    Parameters
    ----------
    lake
        Where to write.
    hours
        Each gets a file, though it may have no rows: it then says that no machine was there. The origin goes into the
        footer.
    rows
        The hours' rows, as :func:`handler.features.rows.compute_features` returns them.
    created
        The time of writing, UTC: the column ``created_timestamp``.
    """
    keys = ("machine_id", "event_timestamp")
    created_timestamp = pl.lit(created, dtype=INSTANT).alias("created_timestamp")
    stamped = rows.select(*keys, created_timestamp, pl.exclude(keys))
    files = {}
    for hour, origin in hours.items():
        frame = stamped.filter(pl.col("event_timestamp") == hour)
        metadata = origin.to_metadata() | {_ROWS: str(frame.height)}
        files[training_key(hour)] = seal(encode_parquet(frame, metadata, row_groups=1))
    lake.write(files)
