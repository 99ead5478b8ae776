"""What a tile file says of itself: the state of the raw partition that it was made of, and how late its lines were."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE

TILE_FORMAT: Final = 7
"""Counted up whenever equal raw lines would give other tiles, so that old ones are built again."""

INCOMPLETE: Final = ":incomplete"
"""Ends the fingerprint of a partition of which an object was gone when it was read, so that it is built again."""

_DOCUMENT: Final = "manifest"
_MINUTE: Final = timedelta(minutes=1)


def fingerprint_inputs(listing: str, spec: FeatureSpec, future_tolerance: timedelta = FUTURE_TOLERANCE) -> str:
    """Name all inputs of a tile file: the listing of its partition (a digest), the readings, and how they are read."""
    return f"{TILE_FORMAT}:{future_tolerance // _MINUTE}:{spec.fingerprint}:{listing}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a tile file says of itself.

    Attributes
    ----------
    fingerprint
        Of its inputs, see :func:`fingerprint_inputs`.
    lateness
        Accepted lines by lateness in hours. Lines later than any setting allows are counted one hour above the largest
        setting.
    beside
        The versions of the partition's other files, by key, as they were when the tile file was written.
    """

    fingerprint: str
    lateness: Mapping[int, int]
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_of_this_format(self) -> bool:
        """Tell whether this release can read the tiles."""
        return self.fingerprint.startswith(f"{TILE_FORMAT}:")

    def has_readings_of(self, spec: FeatureSpec) -> bool:
        """Tell whether these readings, read so, are in the tiles."""
        return spec.fingerprint in self.fingerprint.split(":")

    def is_of(self, fingerprint: str) -> bool:
        """Tell whether a file was made of these inputs, though an object may have been gone when it was read."""
        return self.fingerprint in (fingerprint, fingerprint + INCOMPLETE)

    def to_metadata(self) -> dict[str, str]:
        """Write the manifest as Parquet key-value metadata, less the versions beside, which are known later."""
        return {_DOCUMENT: json.dumps({"fingerprint": self.fingerprint, "lateness": dict(self.lateness)})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], beside: Mapping[str, str]) -> Self | None:
        """Read the manifest from Parquet key-value metadata; None where these hold no manifest.

        Parameters
        ----------
        metadata
            Of a tile file.
        beside
            As in the manifest.

        Returns
        -------
        Manifest or None
            What the file says.
        """
        if _DOCUMENT not in metadata:
            return None
        document = json.loads(metadata[_DOCUMENT])
        return cls(document["fingerprint"], {int(h): n for h, n in document["lateness"].items()}, beside)
