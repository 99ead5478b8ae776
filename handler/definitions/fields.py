"""Which of a raw line's own fields hold what: the names of the contract, unless features.toml maps another lake's."""

from dataclasses import dataclass
from typing import Final

TIMESTAMP_FORMATS: Final = ("iso8601", "epoch_s", "epoch_ms", "epoch_us")
MICROSECONDS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""How many microseconds one unit of a number is."""

Path = tuple[str, ...]
"""Names of fields from the outside in: all but the last hold nested objects."""


@dataclass(frozen=True, slots=True)
class LineFields:
    """Where a raw line holds all that is no reading; a dotted name looks into nested objects.

    Attributes
    ----------
    machine_id, timestamp_utc, codigo_evento
        The line's own names of these fields.
    timestamp_format
        How event times are written: one of ``TIMESTAMP_FORMATS``. All but the first are numbers.
    """

    machine_id: str = "machine_id"
    timestamp_utc: str = "timestamp_utc"
    codigo_evento: str = "codigo_evento"
    timestamp_format: str = TIMESTAMP_FORMATS[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The line's own names, in the contract's order."""
        return self.machine_id, self.timestamp_utc, self.codigo_evento


def split_name(name: str) -> Path:
    """Split a dotted name.

    Parameters
    ----------
    name
        A name of a field, as features.toml gives it.

    Returns
    -------
    tuple of str
        From the outside in.

    Examples
    --------
    >>> split_name("payload.temp")
    ('payload', 'temp')
    """
    return tuple(name.split("."))
