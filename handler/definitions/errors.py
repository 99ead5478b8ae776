"""The errors a run can end with.

::

    ProcessingError
    ├── ConfigurationError   a variable or features.toml is missing or wrong
    ├── EventError           the event that started the run cannot be understood
    ├── LakeError            the object store refused, or did not answer
    │   ├── MissingObjectError    it does not find what it has listed
    │   ├── DamagedFileError      a file is not as it was written
    │   └── OvertakenError        a file or an object was written anew meanwhile
    ├── LossError            training hours would lose rows to another features.toml
    ├── OnlineStoreError     the table refused, or did not answer
    ├── TooManyMachinesError machines are more than the function is to know
    └── OutOfTimeError       the function's time ends; what was done is kept

Each message is one line: the problem, its place, and what would be right. A line of telemetry that cannot be used is no
error: it goes to quarantine (see :mod:`handler.ingest.classes`).
"""

from datetime import datetime


class ProcessingError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(ProcessingError):
    """A setting is missing or wrong.

    Parameters
    ----------
    name
        The variable, or the file and key, to mend.
    problem
        The problem, and what would be right.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class EventError(ProcessingError):
    """The event names no run: a field is unknown, missing or no instant."""


class LakeError(ProcessingError):
    """The lake's store refused a request, or did not answer within its retries.

    Parameters
    ----------
    action
        What was asked for, for example ``"list raw/year=2025/"``.
    problem
        What came back, and what to do next.
    """

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"lake: could not {action}: {problem}")
        self.action = action
        self.problem = problem


class MissingObjectError(LakeError):
    """The store does not find an object."""


class DamagedFileError(LakeError):
    """A processed file is not as it was written.

    Parameters
    ----------
    key
        The file's key.
    partition
        Start of the hour of arrival whose file it is; None where it is what stages leave for each other.
    is_lost
        Whether its raw objects are gone, so that it cannot be built again.
    """

    def __init__(self, key: str, partition: datetime | None = None, *, is_lost: bool = False) -> None:
        lost = "it is damaged, and its raw objects are gone; restore it, or delete it to go on without"
        super().__init__(f"use {key}", lost if is_lost else "it is damaged; run again")
        self.partition = partition


class OvertakenError(LakeError):
    """Another run wrote files anew that this one had read, or somebody a raw object that it had listed.

    Parameters
    ----------
    key
        One of these.
    change
        What happened to a raw object; None for a file of ours.
    """

    def __init__(self, key: str, change: str | None = None) -> None:
        super().__init__(
            f"read {key}" if change else f"rely on {key}",
            f"{change or 'another run wrote it anew meanwhile'}; run again",
        )


class LossError(ProcessingError):
    """Training hours would lose rows: another features.toml accepted lines that this one does not.

    Parameters
    ----------
    hour
        The first training hour that would lose a row.
    machine
        The row's.
    before
        The digest of the features.toml that the row was made by.
    now
        The digest of the other.
    reason
        Why a line of the machine is no longer accepted, and where it lies.
    """

    def __init__(self, hour: str, machine: str, *, before: str, now: str, reason: str) -> None:
        super().__init__(
            f"features.toml {now} would leave training hour {hour} without rows that features.toml {before} has, "
            f"first that of {machine!r}, since {reason}; give that features.toml, or accept_loss to write without them"
        )
        self.hour, self.machine, self.before, self.now = hour, machine, before, now


class OutOfTimeError(ProcessingError):
    """The remaining time will not do for the next step.

    Parameters
    ----------
    progress
        How far the run came, and what it has not done.
    """

    def __init__(self, progress: str) -> None:
        super().__init__(f"out of time: {progress}; the next run goes on from here")


class TooManyMachinesError(ProcessingError):
    """A run would write the features of more machines than it may.

    Parameters
    ----------
    machines
        How many machines it found.
    most
        How many it may write.
    prefix
        The beginning that most ids share.
    alike
        How many ids begin so.
    """

    def __init__(self, machines: int, most: int, prefix: str, alike: int) -> None:
        super().__init__(
            f"MAX_MACHINES: {machines:,} machines have readings, and {most:,} may: {alike:,} of their ids begin with "
            f"{prefix!r}; find out who sends these, or set MAX_MACHINES higher"
        )
        self.machines, self.prefix = machines, prefix


class OnlineStoreError(ProcessingError):
    """The table refused items, or did not answer within its retries.

    Parameters
    ----------
    table
        The table's name.
    problem
        What came back, and what to do next.
    """

    def __init__(self, table: str, problem: str) -> None:
        super().__init__(f"table {table}: {problem}")
        self.table = table
        self.problem = problem
