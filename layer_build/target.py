"""What the layer is built for: AWS's runtimes of Python, and their limits."""

from dataclasses import dataclass
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13")
"""The runtimes, the default first."""
GLIBC: Final = (2, 26)
"""The C library of python3.11's runtime, Amazon Linux 2: a wheel for a newer one does not load there. The others have a
newer one (Amazon Linux 2023), and need no wheel that wants it."""
UNPACKED_LIMIT: Final = 262_144_000
"""Bytes that Lambda unpacks at most, all layers and the function together."""
MARGIN: Final = 5_000_000
"""Bytes of the limit that a build leaves free, for a function that grows and a second small layer."""
LAYER_PREFIX: Final = "python/"
"""Where Lambda looks for modules in a layer; unpacked it is ``/opt/python/``."""


@dataclass(frozen=True, slots=True)
class Target:
    """One architecture of Lambda, and one of its Pythons.

    Attributes
    ----------
    arch
        Lambda's name of it.
    linux
        Linux's name, as in the tags of wheels.
    elf_machine
        ELF's name, as pyelftools says it.
    oldest_glibc
        The minor version of the oldest glibc that manylinux knows for this architecture.
    python
        The Python's version, for example ``"3.11"``.
    """

    arch: str
    linux: str
    elf_machine: str
    oldest_glibc: int
    python: str = PYTHONS[0]

    @property
    def triple(self) -> str:
        """The compiler's name of it, with a glibc as old as that of the wheels: it loads on developers' machines too.

        Examples
        --------
        >>> TARGETS["arm64"].triple
        'aarch64-linux-gnu.2.17'
        """
        return f"{self.linux}-linux-gnu.2.17"

    @property
    def abi(self) -> str:
        """The tag of wheels for this very Python.

        Examples
        --------
        >>> TARGETS["arm64"].abi
        'cp311'
        """
        return f"cp{self.python.replace('.', '')}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that load there, best first.

        Examples
        --------
        >>> TARGETS["arm64"].platforms[0], TARGETS["arm64"].platforms[-1]
        ('manylinux_2_26_aarch64', 'manylinux2014_aarch64')
        """
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        tags = []
        for minor in range(GLIBC[1], self.oldest_glibc - 1, -1):
            tags.append(f"manylinux_{GLIBC[0]}_{minor}_{self.linux}")
            if minor in legacy:
                tags.append(f"{legacy[minor]}_{self.linux}")
        return tuple(tags)

    def __str__(self) -> str:
        return f"{self.abi}, {self.linux}, glibc {GLIBC[0]}.{GLIBC[1]}"


TARGETS: Final = {
    "x86_64": Target("x86_64", "x86_64", "EM_X86_64", 5),
    "arm64": Target("arm64", "aarch64", "EM_AARCH64", 17),
}
