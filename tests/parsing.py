"""A batch of lines, parsed whole."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import polars as pl

from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.ingest.classes import ParsedLines, parse_lines


def parse_batch(contents: Iterable[RawContent], spec: FeatureSpec, partition: datetime) -> ParsedLines:
    """Parse lines, and put the pieces together if there are several."""
    pieces = list(parse_lines(contents, spec, partition))
    if len(pieces) == 1:
        return pieces[0]
    return ParsedLines(
        readings=pl.concat(piece.readings.with_columns(pl.col("machine_id").cast(pl.String)) for piece in pieces),
        failures=pl.concat(piece.failures for piece in pieces),
        rejected=pl.concat(piece.rejected for piece in pieces),
        objects=sum(piece.objects for piece in pieces),
        lines=sum(piece.lines for piece in pieces),
        unknown_fields=sum(piece.unknown_fields for piece in pieces),
        from_the_future=sum((piece.from_the_future for piece in pieces), Counter()),
        is_complete=all(piece.is_complete for piece in pieces),
        is_ordered=all(piece.is_ordered for piece in pieces),
    )
