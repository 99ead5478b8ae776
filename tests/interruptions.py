"""What ends or delays a run at one of its writes, and what happens to files at rest."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from handler.lake.lake import Lake


class KilledError(Exception):
    """A run ends here, as if the machine had been switched off."""


@contextmanager
def interrupting_at_write(number: int, interrupt: Callable[[], object]) -> Iterator[None]:
    """Do something before a write of this number, counted from 0; files of one write are written one by one."""
    write = Lake.write
    written = 0

    def count(lake: Lake, files: Mapping[str, bytes]) -> dict[str, str]:
        nonlocal written
        versions: dict[str, str] = {}
        for key, data in files.items():
            written += 1
            if written == number + 1:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Lake, "write", write)
                    interrupt()
            versions |= write(lake, {key: data})
        return versions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "write", count)
        yield


def die() -> None:
    raise KilledError


def replace(path: Path, data: bytes) -> None:
    """Write a file anew: links to it stay as they are."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, random: Random) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    replace(path, bytes(data))


def damage(path: Path, random: Random) -> None:
    """Flip a bit, cut the end off, empty or delete."""
    data = path.read_bytes()
    kind = random.choice(["flip", "cut", "empty", "delete"])
    if kind == "delete":
        path.unlink()
    elif kind == "flip" and data:
        flip(path, random)
    else:
        replace(path, data[: random.randrange(len(data) + 1)] if kind == "cut" else b"")
