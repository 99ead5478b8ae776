"""The errors a build can end with, each with its exit status.

::

    LayerBuildError           1
    ├── LockError             3   Pipfile.lock cannot be used
    ├── DownloadError         4   pip could not fetch a wheel
    ├── NoWheelError          5   a locked release has no wheel that loads on the target
    ├── HashError             6   bytes are not the locked ones
    ├── WheelError            7   a wheel is not as a wheel should be
    ├── StripError            8   a library cannot be stripped
    ├── BytecodeError         9   a source file does not compile
    ├── InterpreterError     15   the target's Python is not on this machine
    ├── CompileError         14   the handler's C source does not compile
    └── CheckError           10   the layer was built, and would not do
        ├── SizeError        11   it does not fit into Lambda
        ├── LibraryError     12   a library would not load in Lambda's runtime
        └── SmokeError       13   it does not work on its own

2 is the command line's own, for wrong arguments. Each message is one line: the problem, and what to do next.
"""

from typing import ClassVar


class LayerBuildError(Exception):
    """Base of every error this package raises on purpose."""

    exit_status: ClassVar[int] = 1


class LockError(LayerBuildError):
    """The lock file is missing, no lock file, or lacks a version or hashes."""

    exit_status = 3


class DownloadError(LayerBuildError):
    """pip could not fetch a locked wheel: no network, no such release."""

    exit_status = 4


class NoWheelError(LayerBuildError):
    """A locked release has no wheel that loads on the target.

    Parameters
    ----------
    requirement
        The locked release, for example ``"numpy==2.4.0"``.
    target
        The architecture and glibc asked for.
    newest
        The newest release that has a fitting wheel, if any.
    tags
        The tags of the wheels the locked release does have.
    """

    exit_status = 5

    def __init__(self, requirement: str, target: str, newest: str | None, tags: tuple[str, ...]) -> None:
        name = requirement.partition("==")[0]
        advice = f"the newest release with one is {newest}: pin {name} to it" if newest else "no release has one"
        has = f"its wheels are for {', '.join(tags)}" if tags else "it has no wheels"
        super().__init__(f"{requirement} has no wheel for {target}; {advice}; {has}")
        self.requirement = requirement
        self.newest = newest
        self.tags = tags


class HashError(LayerBuildError):
    """A downloaded or unpacked file is not the one that was locked or recorded."""

    exit_status = 6


class WheelError(LayerBuildError):
    """A wheel is no zip, has no RECORD, or wants to write outside its folder."""

    exit_status = 7


class StripError(LayerBuildError):
    """A library is no ELF file that can be stripped."""

    exit_status = 8


class BytecodeError(LayerBuildError):
    """A source file does not compile."""

    exit_status = 9


class InterpreterError(LayerBuildError):
    """The target's Python, which compiles and tries the layer, is not on this machine."""

    exit_status = 15


class CompileError(LayerBuildError):
    """The handler's C source does not compile, or there is no compiler."""

    exit_status = 14


class CheckError(LayerBuildError):
    """The layer was built, and would not do."""

    exit_status = 10


class SizeError(CheckError):
    """Layer and function are larger than Lambda unpacks, less the margin."""

    exit_status = 11


class LibraryError(CheckError):
    """A library is of another machine, or needs a newer glibc than Lambda's."""

    exit_status = 12


class SmokeError(CheckError):
    """The unpacked layer does not import and run by itself."""

    exit_status = 13
