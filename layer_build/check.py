"""Stage 7, check: what must hold before a layer is worth uploading. Each check raises, with one line that says why."""

import io
import json
import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from layer_build.errors import LibraryError, SizeError, SmokeError
from layer_build.interpreter import Interpreter
from layer_build.strip import MAGIC
from layer_build.target import GLIBC, LAYER_PREFIX, MARGIN, UNPACKED_LIMIT, Target

_SMOKE: Final = Path(__file__).with_name("smoke.py")
_SMOKE_SECONDS: Final = 180


def check_size(layer: int, function: int, *, limit: int = UNPACKED_LIMIT, margin: int = MARGIN) -> None:
    """Check that layer and function fit into Lambda.

    Parameters
    ----------
    layer
        The layer's unpacked bytes.
    function
        The function's unpacked bytes.
    limit
        Bytes that Lambda unpacks at most.
    margin
        Bytes below the limit that are kept free.

    Raises
    ------
    SizeError
        If they do not.
    """
    over = layer + function - (limit - margin)
    if over > 0:
        raise SizeError(
            f"layer ({layer:,} bytes) and function ({function:,}) are {over:,} bytes more than the {limit - margin:,} "
            f"allowed (Lambda's {limit:,} less a margin of {margin:,}); --explain shows what is large"
        )


def check_libraries(files: Mapping[str, bytes], target: Target) -> int:
    """Check every ELF file for the target's machine and glibc.

    Parameters
    ----------
    files
        Bytes by path.
    target
        The architecture they must be for.

    Returns
    -------
    int
        How many were checked.

    Raises
    ------
    LibraryError
        Naming the first that would not load.
    """
    libraries = sorted(path for path, data in files.items() if data.startswith(MAGIC))
    for path in libraries:
        try:
            elf = ELFFile(io.BytesIO(files[path]))
            machine, needed = str(elf["e_machine"]), _read_versions(elf)
        except (ELFError, ValueError) as error:
            raise LibraryError(f"{path} is no ELF file that can be read: {error}") from error
        if machine != target.elf_machine:
            raise LibraryError(f"{path} is for {machine}, and {target.arch} is {target.elf_machine}")
        for version in sorted(needed):
            if is_too_new(version):
                raise LibraryError(
                    f"{path} needs {version}, and Lambda's glibc is {GLIBC[0]}.{GLIBC[1]}; "
                    "pin its distribution to a release with an older manylinux wheel"
                )
    return len(libraries)


def is_too_new(version: str) -> bool:
    """Tell whether a symbol version is of a newer glibc than Lambda's.

    Parameters
    ----------
    version
        A symbol's version, as in the ELF file.

    Returns
    -------
    bool
        False for versions of other libraries.

    Examples
    --------
    >>> is_too_new("GLIBC_2.26"), is_too_new("GLIBC_2.27"), is_too_new("GLIBC_ABI_DT_RELR"), is_too_new("GCC_3.0")
    (False, True, True, False)
    """
    if not version.startswith("GLIBC_"):
        return False
    match = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version)
    return match is None or (int(match[1]), int(match[2])) > GLIBC


def _read_versions(elf: ELFFile) -> set[str]:
    versions = set()
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, auxiliaries in section.iter_versions():
                versions |= {str(auxiliary.name) for auxiliary in auxiliaries}
    return versions


def check_smoke(layer: Path, function: Path, interpreter: Interpreter) -> dict[str, Any]:
    """Unpack both zips, and run everything once in an isolated interpreter that sees nothing else.

    Parameters
    ----------
    layer
        The layer's zip, as it would be uploaded.
    function
        The function's zip, as it would be uploaded.
    interpreter
        The Python they are for.

    Returns
    -------
    dict of str to Any
        What the run says: versions, and seconds of the handler's import.

    Raises
    ------
    SmokeError
        If anything does not import or gives a wrong result.
    """
    with tempfile.TemporaryDirectory() as folder:
        roots = Path(folder) / "opt", Path(folder) / "task"
        for path, root in zip((layer, function), roots, strict=True):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(root)
        script = Path(folder) / _SMOKE.name
        script.write_bytes(_SMOKE.read_bytes())
        command = [interpreter.path, "-I", "-S", "-B", str(script), str(roots[0] / LAYER_PREFIX), str(roots[1])]
        # numpy's BLAS is told by these what processor to take this one for, where it guesses wrong
        environment = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
        try:
            result = subprocess.run(  # noqa: S603 - our own script
                command,
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                cwd=folder,
                timeout=_SMOKE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise SmokeError(f"the layer was not done with its first run after {_SMOKE_SECONDS} s") from None
    if result.returncode:
        last = (result.stderr.strip() or result.stdout.strip() or f"it ended with {result.returncode}").splitlines()[-1]
        raise SmokeError(f"the unpacked layer does not work on its own: {last}")
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer
