import ast
import json
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from layer_build.check import check_smoke
from layer_build.docstrings import empty_source
from layer_build.errors import InterpreterError, SmokeError
from layer_build.interpreter import find_interpreter
from layer_build.lock import read_lock
from layer_build.target import PYTHONS, TARGETS
from layer_build.wheels import WheelCache, hash_file
from tests.builds import MACHINE_ARCH, ROOT, Built, run_build
from tests.runtime.conftest import Unpacked
from tests.tools import find_tool

BUDGET = 252_000_000
ARTIFACTS = ("pandas_layer.zip", "processing_lambda.zip", "manifest.json", "pandas_layer.cdx.json")
VALIDATE = """
import sys
from pathlib import Path
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(sys.argv[1]).read_text()))
"""
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null"}


def test_layer_and_function_fit_with_bytecode_included(first: Built) -> None:
    sizes = 0
    for name in ("pandas_layer.zip", "processing_lambda.zip"):
        with zipfile.ZipFile(first.out / name) as archive:
            sizes += sum(info.file_size for info in archive.infolist())
            assert any(info.filename.endswith(".cpython-311.pyc") for info in archive.infolist())
    assert sizes == first.manifest["layer"]["unpacked"] + first.manifest["function"]["unpacked"]
    assert sizes <= BUDGET
    print(f"\nunpacked: {sizes:,} bytes; first build: {first.seconds:.1f} s")


def test_smoke_test_ran_in_the_first_build(first: Built) -> None:
    assert first.manifest["checked"]["libraries"] > 50
    assert first.manifest["checked"]["smoke"]
    assert "ran everything once in an isolated Python" in first.log


def test_second_build_downloads_nothing_and_takes_under_a_fifth(
    first: Built, build_cache: Path, tmp_path: Path
) -> None:
    second = run_build(tmp_path, build_cache, "--arch", MACHINE_ARCH, env=OFFLINE)
    print(f"\nfirst build: {first.seconds:.1f} s, second: {second.seconds:.1f} s")
    assert "downloading" not in second.log
    assert second.seconds < first.seconds / 5
    for name in ARTIFACTS:
        assert hash_file(second.out / name) == hash_file(first.out / name), name


def test_build_from_the_wheels_again_elsewhere_gives_the_same_bytes(
    first: Built, build_cache: Path, tmp_path: Path
) -> None:
    """Another folder, user name, home, time zone and hash seed; offline, from the wheels alone."""
    root = tmp_path / "another place"
    for package in ("handler", "layer_build"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Pipfile.lock", root)
    for path in root.rglob("*"):
        path.touch()
    another = {"PYTHONHASHSEED": "42", "TZ": "Asia/Tokyo", "USER": "another", "HOME": str(tmp_path), "LC_ALL": "C"}
    again = run_build(
        tmp_path / "out", build_cache, "--arch", MACHINE_ARCH, "--fresh", root=root, env=OFFLINE | another
    )
    assert "downloading" not in again.log
    for name in ARTIFACTS:
        assert hash_file(again.out / name) == hash_file(first.out / name), name


def test_other_architecture_is_built_and_checked_statically(build_cache: Path, tmp_path: Path) -> None:
    other = run_build(tmp_path, build_cache, "--arch", {"x86_64": "arm64", "arm64": "x86_64"}[MACHINE_ARCH])
    assert other.manifest["checked"]["libraries"] > 50
    assert not other.manifest["checked"]["smoke"]
    assert "checked statically only" in other.log
    total = other.manifest["layer"]["unpacked"] + other.manifest["function"]["unpacked"]
    assert total <= BUDGET
    print(f"\n{other.manifest['target']['arch']}: {total:,} bytes unpacked")


def test_artifacts_are_described_beside_them(first: Built) -> None:
    for name in ("pandas_layer.zip", "processing_lambda.zip"):
        digest = hash_file(first.out / name)
        assert (first.out / f"{name}.sha256").read_text() == f"{digest}  {name}\n"
    bill = json.loads((first.out / "pandas_layer.cdx.json").read_text())
    locked = read_lock(ROOT / "Pipfile.lock", TARGETS[MACHINE_ARCH])
    purls = {component["purl"] for component in bill["components"]}
    assert {purl for purl in purls if purl.startswith("pkg:pypi/")} == {
        f"pkg:pypi/{item.name}@{item.version}" for item in locked
    }
    assert len([purl for purl in purls if purl.startswith("pkg:cargo/polars-")]) > 10
    assert len([purl for purl in purls if purl.startswith("pkg:cargo/")]) > 400
    assert all(component["licenses"] for component in bill["components"])
    print(f"\nthe bill of materials: {len(purls)} components")


def test_bill_of_materials_is_valid(first: Built) -> None:
    """By CycloneDX's own library, which checkov brings."""
    path = str(first.out / "pandas_layer.cdx.json")
    result = subprocess.run(
        [find_tool("checkov", "bin/python"), "-c", VALIDATE, path], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "None"


def test_each_distribution_comes_with_its_licence(unpacked: Unpacked) -> None:
    for folder in unpacked.layer.glob("*.dist-info"):
        assert [path for path in folder.rglob("*") if "LICEN" in path.name.upper()], folder


@pytest.mark.parametrize("python", PYTHONS[1:])
def test_layer_of_another_python_is_built_and_tried(build_cache: Path, tmp_path: Path, python: str) -> None:
    try:
        find_interpreter(python)
    except InterpreterError as error:
        pytest.skip(str(error))
    other = run_build(tmp_path, build_cache, "--arch", MACHINE_ARCH, "--python", python)
    assert other.manifest["target"]["python"] == python
    assert other.manifest["checked"]["smoke"]
    assert "ran everything once in an isolated Python" in other.log
    total = other.manifest["layer"]["unpacked"] + other.manifest["function"]["unpacked"]
    assert total <= BUDGET
    print(f"\nPython {python}: {total:,} bytes unpacked")


def test_no_path_of_the_build_is_inside(first: Built) -> None:
    marks = [str(ROOT).encode(), str(first.out).encode(), str(Path.home()).encode() + b"/"]
    for name in ("pandas_layer.zip", "processing_lambda.zip"):
        with zipfile.ZipFile(first.out / name) as archive:
            for info in archive.infolist():
                if info.filename.endswith((".pyc", ".json", ".toml", "libdecoder.so")):
                    data = archive.read(info)
                    assert not any(mark in data for mark in marks), info.filename


def test_function_zip_holds_the_handler_alone(first: Built) -> None:
    with zipfile.ZipFile(first.out / "processing_lambda.zip") as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"handler"}
    assert {"handler/features.toml", "handler/ingest/libdecoder.so"} <= set(names)
    assert not [name for name in names if not name.endswith((".py", ".pyc", ".toml", ".so"))]
    assert len([name for name in names if name.endswith(".py")]) == len(list((ROOT / "handler").rglob("*.py")))


@pytest.mark.skipif(sys.platform != "linux", reason="the layer's libraries are Linux's")
def test_function_without_its_library_fails_the_smoke_test(first: Built, tmp_path: Path) -> None:
    """The handler itself would do without, slower."""
    bare = tmp_path / "processing_lambda.zip"
    with zipfile.ZipFile(first.out / bare.name) as archive, zipfile.ZipFile(bare, "w") as copy:
        for name in archive.namelist():
            if not name.endswith(".so"):
                copy.writestr(name, archive.read(name))
    with pytest.raises(SmokeError, match="the handler's library does not load"):
        check_smoke(first.out / "pandas_layer.zip", bare, find_interpreter("3.11"))


def test_sources_differ_from_the_wheels_in_docstrings_only(first: Built, build_cache: Path) -> None:
    """Every module of pandas and polars, parsed: the same code on the same lines."""
    found = {item.name: item for item in read_lock(ROOT / "Pipfile.lock", TARGETS[MACHINE_ARCH])}
    for name in ("polars", "pandas"):
        wheel = WheelCache(build_cache / "wheels").find(found[name], TARGETS[MACHINE_ARCH])
        assert wheel is not None
        with zipfile.ZipFile(wheel.path) as original, zipfile.ZipFile(first.out / "pandas_layer.zip") as layer:
            modules = [path for path in original.namelist() if f"python/{path}" in layer.NameToInfo]
            modules = [path for path in modules if path.endswith(".py")]
            assert len(modules) > 150
            for path in modules:
                source, shipped = original.read(path), layer.read(f"python/{path}")
                assert shipped == empty_source(source)
                assert _dump_without_docstrings(shipped) == _dump_without_docstrings(source), path


def _dump_without_docstrings(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    rows = [(type(node).__name__, getattr(node, "lineno", 0)) for node in ast.walk(tree)]
    return ast.dump(tree) + repr(rows)


IMPORT = """
import sys, time
sys.path[:0] = sys.argv[1:]
start = time.perf_counter()
import handler.app
print(time.perf_counter() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the layer's libraries are Linux's")
def test_bytecode_makes_the_first_import_faster(unpacked: Unpacked, tmp_path: Path) -> None:
    """Seven imports each, taken in turn, each in a new process: medians."""
    bare = tmp_path / "layer"
    shutil.copytree(unpacked.layer, bare, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__"))
    assert not list(bare.rglob("*.pyc"))
    seconds: dict[Path, list[float]] = {unpacked.layer: [], bare: []}
    for turn in range(8):
        for layer, taken in seconds.items():
            command = [sys.executable, "-I", "-S", "-B", "-c", IMPORT, str(unpacked.function), str(layer)]
            result = subprocess.run(command, capture_output=True, text=True, check=True, env={})
            if turn:  # the first only fills the page cache
                taken.append(float(result.stdout))
    with_bytecode, without = (statistics.median(taken) for taken in seconds.values())
    print(f"\nimport of the handler: {with_bytecode:.3f} s with bytecode, {without:.3f} s without")
    assert without >= 1.5 * with_bytecode


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
