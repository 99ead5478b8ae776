"""Which partitions are known to have held readings, and which training files were made of more than is there now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from handler.definitions.timestamps import HOUR
from handler.stores.training import Origin
from handler.tiles.files import PartitionFiles


@dataclass(frozen=True, slots=True)
class KnownInputs:
    """The inputs of the training files within reach: those that are there, and those that are known to be lost.

    Attributes
    ----------
    files
        The tiles that are there.
    lost
        Partitions without tiles that training files were made of, or whose raw objects are not looked at any more.
    """

    files: PartitionFiles
    lost: frozenset[datetime]

    @classmethod
    def find(cls, files: PartitionFiles, origins: Iterable[Origin | None]) -> Self:
        """Find the partitions that are lost, as stored training files tell; a backfill also lists expired ones."""
        seen = set(files.unread)
        seen |= {partition for origin in origins if origin for partition in origin.list_partitions() or ()}
        if files.plan.is_backfill:
            unread = filter(files.plan.is_expired, files.list_needed() - files.manifests.keys())
            listings, _ = files.lake.list_partitions(unread)
            seen |= {partition for partition, listing in listings.items() if listing.objects}
        return cls(files, frozenset(seen - files.manifests.keys()))

    def are_fewer(self, hour: datetime, origin: Origin, before: Origin | None) -> bool:
        """Tell whether a training file was made of more than its hour can be written from now.

        Only partitions count that its rows would see: fewer than they saw, where the windows or the lateness shrank. Of
        a file of an earlier release, which does not say its partitions, any earlier one that is not there counts. An
        hour without a file is unknown where all its partitions may have expired, and no tiles of these are there.

        Parameters
        ----------
        hour
            The file's.
        origin
            The inputs it would be made of.
        before
            The inputs it was made of; None where there is no file, or a damaged one.

        Returns
        -------
        bool
            True where the file must stand, or must not be written.
        """
        manifests, plan = self.files.manifests, self.files.plan
        contributors = plan.list_contributors([hour])
        earlier = {partition for partition in contributors if partition < hour}
        if before is None and plan.is_expired(hour - HOUR) and earlier.isdisjoint(manifests):
            return True
        made_of = set() if before is None else before.list_partitions()
        made_of = earlier if made_of is None else made_of & contributors
        if before is not None and before.made_by == origin.made_by:
            return not made_of <= manifests.keys()
        if any(
            partition not in manifests or not manifests[partition].has_readings_of(self.files.spec)
            for partition in made_of
        ):
            return True
        return not self.lost.isdisjoint(contributors)
