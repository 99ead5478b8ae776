import inspect
import json
import os
import zipfile
from pathlib import Path

import pytest

from layer_build import build, errors
from layer_build.__main__ import main
from layer_build.build import collect_function
from layer_build.compile import SOURCES
from layer_build.errors import LayerBuildError, WheelError
from layer_build.interpreter import find_interpreter
from layer_build.wheels import hash_file
from tests.builds import MACHINE_ARCH
from tests.unit.layer_build.conftest import MakeWheel


@pytest.fixture
def project(tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one pump, whose wheel pip finds in a folder.

    The compiler, which takes its time, and the smoke test, which needs polars, are left out.
    """
    wheel = make_wheel("pump", "1.0", {"pump/__init__.py": b'"""A pump."""\n', "pump/tests/test_a.py": b"1\n"})
    root = tmp_path / "project"
    (root / "handler" / "ingest").mkdir(parents=True)
    (root / "handler" / "__init__.py").write_text('"""The handler."""\n')
    for name in SOURCES:
        (root / name).write_text("")
    lock = {"layer": {"pump": {"version": "==1.0", "hashes": [f"sha256:{hash_file(wheel)}"]}}}
    (root / "Pipfile.lock").write_text(json.dumps(lock))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(build, "compile_library", lambda _source, triple, _cache, **_: triple.encode())
    monkeypatch.setattr(build, "find_compiler", lambda: "ziglang 0.17")
    monkeypatch.setattr(build, "check_smoke", lambda _layer, _function, _python: {"modules": 1})
    return root


def run(project: Path, *arguments: str) -> int:
    folders = ("--root", str(project), "--out", str(project / "out"), "--cache", str(project / "cache"))
    return main([*folders, *arguments])


def test_build_writes_the_zips_and_what_describes_them(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project, "--json", "--explain") == 0
    captured = capsys.readouterr()
    manifest = json.loads(captured.out)
    assert manifest["pruned"]["tests and their data"] == 2
    assert manifest["limit"]["left"] == 262_144_000 - manifest["layer"]["unpacked"] - manifest["function"]["unpacked"]
    assert "What pruning took" in captured.err
    assert sorted(path.name for path in (project / "out").iterdir()) == [
        "manifest.json",
        "pandas_layer.cdx.json",
        "pandas_layer.zip",
        "pandas_layer.zip.sha256",
        "processing_lambda.zip",
        "processing_lambda.zip.sha256",
    ]


def test_table_adds_up(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project) == 0
    output = capsys.readouterr().out
    (row,) = json.loads((project / "out" / "manifest.json").read_text())["distributions"]
    size = row["unpacked"] - row["pruned"] - row["stripped"] - row["emptied"] + row["bytecode"]
    assert size == row["size"]
    assert f"{row['size']:,}" in output
    assert "of the 262,144,000 bytes that Lambda unpacks" in output


def test_library_is_compiled_for_the_orders_target(project: Path) -> None:
    (project / "handler" / "ingest" / "libdecoder.so").write_text("this machine's")
    assert run(project, "--arch", "arm64") == 0
    with zipfile.ZipFile(project / "out" / "processing_lambda.zip") as archive:
        assert archive.read("handler/ingest/libdecoder.so") == b"aarch64-linux-gnu.2.17"
    manifest = json.loads((project / "out" / "manifest.json").read_text())
    assert manifest["function"]["compiler"].startswith("ziglang ")


def test_library_of_another_machine_is_not_packed(
    project: Path, library: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "compile_library", lambda *_, **__: library)
    other = {"x86_64": "arm64", "arm64": "x86_64"}[MACHINE_ARCH]
    assert run(project, "--arch", other) == errors.LibraryError.exit_status
    assert "handler/ingest/libdecoder.so is for" in capsys.readouterr().err
    assert not (project / "out").exists()


def test_changed_handler_keeps_the_layer(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project) == 0
    before = {name: hash_file(project / "out" / name) for name in ("pandas_layer.zip", "processing_lambda.zip")}
    (project / "handler" / "__init__.py").write_text("x = 1\n")
    assert run(project) == 0
    assert "took the layer from the cache" in capsys.readouterr().out
    assert hash_file(project / "out" / "pandas_layer.zip") == before["pandas_layer.zip"]
    assert hash_file(project / "out" / "processing_lambda.zip") != before["processing_lambda.zip"]


def test_damaged_layer_in_the_cache_is_built_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project) == 0
    before = hash_file(project / "out" / "pandas_layer.zip")
    (layer,) = (project / "cache" / "layers").glob("*/pandas_layer.zip")
    layer.write_bytes(b"damaged")
    capsys.readouterr()
    assert run(project) == 0
    assert "took the layer from the cache" not in capsys.readouterr().out
    assert hash_file(project / "out" / "pandas_layer.zip") == before


def test_cache_keeps_the_last_four_layers(project: Path) -> None:
    layers = project / "cache" / "layers"
    for k in range(6):
        (layers / f"old-{k}").mkdir(parents=True)
        os.utime(layers / f"old-{k}", (k, k))
    assert run(project) == 0
    names = sorted(folder.name for folder in layers.iterdir())
    assert names[1:] == ["old-3", "old-4", "old-5"]
    assert len(names) == 4


@pytest.mark.parametrize(
    ("lock", "error", "message"),
    [
        ("{}", errors.LockError, "make lock"),
        ('{"layer": {"pump": {"version": "==9", "hashes": ["sha256:' + "a" * 64 + '"]}}}', errors.NoWheelError, "pin"),
        ('{"layer": {"pump": {"version": "==1.0", "hashes": ["sha256:' + "a" * 64 + '"]}}}', errors.HashError, "hash"),
    ],
)
def test_error_is_one_line_and_an_exit_status(
    project: Path, capsys: pytest.CaptureFixture[str], lock: str, error: type[LayerBuildError], message: str
) -> None:
    (project / "Pipfile.lock").write_text(lock)
    assert run(project) == error.exit_status
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert stderr.startswith("layer_build: ")
    assert message in stderr
    assert not (project / "out").exists()


def test_layer_that_is_too_large_is_not_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_size(layer: int, function: int) -> None:
        raise errors.SizeError("too large")

    monkeypatch.setattr(build, "check_size", check_size)
    assert run(project) == errors.SizeError.exit_status
    assert not (project / "out").exists()


@pytest.mark.parametrize("arguments", [("--arch", "riscv"), ("--python", "3.10")])
def test_wrong_arguments_end_with_2(project: Path, arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(project, *arguments)
    assert caught.value.code == 2


def test_each_error_has_a_status_of_its_own() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LayerBuildError)]
    statuses = [kind.exit_status for kind in kinds]
    assert len(set(statuses)) == len(kinds) > 10
    assert not {0, 2} & set(statuses)
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")


def test_function_zip_holds_modules_settings_bytecode_and_the_library_given(project: Path) -> None:
    (project / "handler" / "features.toml").write_text("")
    (project / "handler" / "notes.txt").write_text("")
    (project / "handler" / "ingest" / "libdecoder.so").write_text("this machine's")
    (project / "handler" / "__pycache__").mkdir()
    (project / "handler" / "__pycache__" / "old.cpython-39.pyc").write_text("")
    own = find_interpreter("3.11")
    files = collect_function(project, b"the target's", own)
    assert files["handler/ingest/libdecoder.so"] == b"the target's"
    assert sorted(files) == [
        "handler/__init__.py",
        "handler/__pycache__/__init__.cpython-311.pyc",
        "handler/features.toml",
        "handler/ingest/libdecoder.so",
    ]
    with pytest.raises(WheelError, match="no package handler/"):
        collect_function(project / "out", b"", own)
