"""Tiny wheels, and one small real library, for tests of the stages."""

import base64
import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest

MakeWheel = Callable[..., Path]


def record_hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    """Make a wheel: ``make_wheel("pump", "1.0", {"pump.py": b""})``, with a correct RECORD unless told otherwise."""

    def make(
        name: str,
        version: str,
        files: Mapping[str, bytes] | None = None,
        *,
        tag: str = "py3-none-any",
        record: Mapping[str, bytes] | None = None,
        metadata: str = "",
        licensed: bool = True,
    ) -> Path:
        folder = f"{name}-{version}.dist-info"
        everything = {
            **({f"{name}.py": b'"""A pump."""\n'} if files is None else files),
            f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}".encode(),
            **({f"{folder}/licenses/LICENSE": b"Do as you like.\n"} if licensed else {}),
            f"{folder}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        }
        rows = [f"{path},{record_hash(data)},{len(data)}" for path, data in ({**everything, **(record or {})}).items()]
        path = tmp_path / "index" / f"{name}-{version}-{tag}.whl"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for entry, data in everything.items():
                archive.writestr(entry, data)
            archive.writestr(f"{folder}/RECORD", "\n".join([*rows, f"{folder}/RECORD,,"]) + "\n")
        return path

    return make


@pytest.fixture(scope="session")
def library() -> bytes:
    """A real shared library of this machine."""
    return Path(str(orjson.orjson.__file__)).read_bytes()  # type: ignore[attr-defined]
