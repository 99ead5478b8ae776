"""The stages in their order.

The layer: lock → wheels → unpack → licences → prune → strip → docstrings → bytecode → check → archive. The function's
package: compile → bytecode → check → archive. Then both together: check.
"""

import hashlib
import json
import os
import platform
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from layer_build.archive import write_archive, write_text
from layer_build.bill import Inside, describe_layer, read_inside
from layer_build.bytecode import compile_files
from layer_build.check import check_libraries, check_size, check_smoke
from layer_build.compile import LIBRARY, compile_library, find_compiler, read_sources
from layer_build.docstrings import empty_docstrings
from layer_build.errors import WheelError
from layer_build.interpreter import Interpreter, find_interpreter
from layer_build.licences import add_licence
from layer_build.lock import Requirement, read_lock
from layer_build.manifest import Content, describe_contents
from layer_build.prune import prune_files
from layer_build.strip import strip_files
from layer_build.target import LAYER_PREFIX, MARGIN, UNPACKED_LIMIT, Target
from layer_build.unpack import Distribution, unpack_wheel
from layer_build.wheels import Wheel, WheelCache, fetch_wheels, hash_file

LAYER: Final = "pandas_layer.zip"
FUNCTION: Final = "processing_lambda.zip"
_TASK: Final = "/var/task/"
_OPT: Final = "/opt/"
_FUNCTION_PACKAGE: Final = "handler"
_KEPT: Final = ".py", ".toml"
_LAYERS_KEPT: Final = 4
Report = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, and where.

    Attributes
    ----------
    root
        The project: ``Pipfile.lock`` and ``handler/`` are read there.
    out
        The folder for the zips and what lies beside them.
    cache
        The folder for wheels, finished layers and compiled libraries.
    target
        The architecture and the Python.
    strip
        Whether to strip libraries.
    fresh
        Whether to build a layer, and compile a library, again that is already in the cache.
    """

    root: Path
    out: Path
    cache: Path
    target: Target
    strip: bool = True
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer.

    Attributes
    ----------
    sha256
        The zip's.
    contents
        The distributions.
    insides
        By distribution, its own bills.
    saved
        Bytes that pruning took, by reason.
    libraries
        How many ELF files were checked.
    """

    sha256: str
    contents: tuple[Content, ...]
    insides: Mapping[str, Inside]
    saved: Mapping[str, int]
    libraries: int

    @property
    def size(self) -> int:
        """Unpacked bytes."""
        return sum(content.size for content in self.contents)


def build(order: Order, report: Report) -> dict[str, Any]:
    """Build the layer and the function's package, check them, and write what lies beside them.

    Parameters
    ----------
    order
        What to build.
    report
        Told of each step.

    Returns
    -------
    dict
        The manifest, as it was written.

    Raises
    ------
    LayerBuildError
        The subclass that names the problem. Zips of an earlier build are then gone or as they were, never half new.
    """
    interpreter = find_interpreter(order.target.python)
    requirements = read_lock(order.root / "Pipfile.lock", order.target)
    report(f"read {len(requirements)} locked releases")
    layer_path = order.cache / "layers" / _fingerprint(order, requirements, interpreter) / LAYER
    layer = None if order.fresh else _find_finished(layer_path)
    if layer is None:
        wheels = fetch_wheels(requirements, order.target, WheelCache(order.cache / "wheels"), report=report)
        layer = _build_layer(order, wheels, interpreter, layer_path, report)
    else:
        report(f"took the layer from the cache: nothing in it changed ({layer.sha256[:12]})")
    sources = read_sources(order.root)
    library = compile_library(sources, order.target.triple, order.cache, report=report, fresh=order.fresh)
    function = collect_function(order.root, library, interpreter)
    function_libraries = check_libraries(function, order.target)
    function_path = layer_path.with_name(FUNCTION)
    function_digest = write_archive(function_path, function)
    report(f"packed {_FUNCTION_PACKAGE}/: {len(function)} files, its library checked for {order.target}")
    function_size = sum(map(len, function.values()))
    check_size(layer.size, function_size)
    ran = order.target.linux == platform.machine()
    if ran:
        _check_once(order, interpreter, (layer_path, function_path), (layer.sha256, function_digest), report)
    else:
        report(f"{order.target.arch} cannot run on this machine ({platform.machine()}): checked statically only")
    manifest = {
        "target": {"arch": order.target.arch, "python": order.target.python, "zlib": zlib.ZLIB_RUNTIME_VERSION},
        "layer": {"file": LAYER, "sha256": layer.sha256, "zipped": layer_path.stat().st_size, "unpacked": layer.size},
        "function": {
            "file": FUNCTION,
            "sha256": function_digest,
            "zipped": function_path.stat().st_size,
            "unpacked": function_size,
            "compiler": find_compiler(),
        },
        "limit": {"unpacked": UNPACKED_LIMIT, "margin": MARGIN, "left": UNPACKED_LIMIT - layer.size - function_size},
        "checked": {"libraries": layer.libraries + function_libraries, "smoke": ran},
        "pruned": dict(sorted(layer.saved.items(), key=lambda item: -item[1])),
        "distributions": describe_contents(layer.contents),
    }
    _forget_old(layer_path.parent)
    _publish(order.out, layer_path, function_path, layer, manifest)
    report(f"wrote {LAYER} and {FUNCTION} to {order.out}")
    return manifest


def collect_function(root: Path, library: bytes, interpreter: Interpreter) -> dict[str, bytes]:
    """Collect the function's own package, with bytecode and its docstrings, by path in its zip.

    Parameters
    ----------
    root
        The project.
    library
        The compiled library; one that lies in the package is this machine's, and is passed over.
    interpreter
        The Python that is to load it.

    Returns
    -------
    dict of str to bytes
        Bytes by path in the zip.

    Raises
    ------
    WheelError
        If there is no package.
    """
    sources = sorted(path for path in (root / _FUNCTION_PACKAGE).rglob("*") if path.suffix in _KEPT)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sources}
    if f"{_FUNCTION_PACKAGE}/__init__.py" not in files:
        raise WheelError(f"there is no package {_FUNCTION_PACKAGE}/ in {root}; run the build in the project's folder")
    return files | {LIBRARY: library} | compile_files(files, _TASK, interpreter)


def _build_layer(order: Order, wheels: Sequence[Wheel], interpreter: Interpreter, path: Path, report: Report) -> Layer:
    files: dict[str, bytes] = {}
    saved: dict[str, int] = {}
    contents = []
    insides = {}
    for wheel in wheels:
        built, content, inside, taken = _build_distribution(order, wheel, interpreter)
        for place in sorted(files.keys() & built.keys()):
            raise WheelError(f"{wheel.path.name} holds {place}, and so does another locked wheel")
        files |= built
        contents.append(content)
        insides[content.name] = inside
        for reason, size in taken.items():
            saved[reason] = saved.get(reason, 0) + size
        report(f"{content.name} {content.version}: {content.unpacked:,} bytes unpacked, {content.size:,} in the layer")
    libraries = check_libraries(files, order.target)
    report(f"checked {libraries} libraries for {order.target}")
    check_size(sum(map(len, files.values())), 0)
    digest = write_archive(path, {LAYER_PREFIX + place: data for place, data in files.items()})
    layer = Layer(digest, tuple(contents), insides, saved, libraries)
    write_text(path.with_suffix(".json"), json.dumps(asdict(layer)))
    report(f"packed the layer: {len(files):,} files")
    return layer


def _build_distribution(
    order: Order, wheel: Wheel, interpreter: Interpreter
) -> tuple[dict[str, bytes], Content, Inside, Mapping[str, int]]:
    unpacked = unpack_wheel(wheel.path)
    unpacked = unpacked.with_files(add_licence(unpacked.name, unpacked.files))
    pruned = prune_files(unpacked.files)
    stripped = strip_files(pruned.files) if order.strip else dict(pruned.files)
    emptied = empty_docstrings(stripped)
    bytecode = compile_files(emptied, _OPT + LAYER_PREFIX, interpreter, jobs=os.cpu_count() or 1)
    content = _measure(unpacked, wheel, pruned.files, stripped, emptied, bytecode)
    return emptied | bytecode, content, read_inside(unpacked.files), pruned.saved


def _measure(unpacked: Distribution, wheel: Wheel, *stages: Mapping[str, bytes]) -> Content:
    pruned, stripped, emptied, bytecode = (sum(map(len, files.values())) for files in stages)
    return Content(
        name=unpacked.name,
        version=unpacked.version,
        licence=unpacked.licence,
        wheel=wheel.path.name,
        sha256=wheel.sha256,
        unpacked=unpacked.size,
        pruned=unpacked.size - pruned,
        stripped=pruned - stripped,
        emptied=stripped - emptied,
        bytecode=bytecode,
        size=emptied + bytecode,
    )


def _check_once(
    order: Order, interpreter: Interpreter, zips: tuple[Path, Path], digests: tuple[str, str], report: Report
) -> None:
    """Run the smoke test, unless these very bytes, under this very test, passed it on this machine before."""
    mark = zips[0].with_name(f"passed-{'-'.join(digest[:32] for digest in digests)}")
    if mark.exists() and not order.fresh:
        report("these very zips ran in an isolated Python before: not run again (--fresh does)")
        return
    answer = check_smoke(*zips, interpreter)
    mark.touch()
    report(f"ran everything once in an isolated Python, from {answer['modules']} compiled modules")


def _fingerprint(order: Order, requirements: Sequence[Requirement], interpreter: Interpreter) -> str:
    """Digest everything that a layer's bytes depend on: the lock, the target, the options, this package, Python."""
    recipe = sorted(path for pattern in ("*.py", "licences/*") for path in Path(__file__).parent.glob(pattern))
    parts = [
        [asdict(requirement) for requirement in requirements],
        asdict(order.target),
        order.strip,
        interpreter.version,
        platform.python_version(),
        zlib.ZLIB_RUNTIME_VERSION,
        {path.name: hash_file(path) for path in recipe},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _find_finished(path: Path) -> Layer | None:
    """Find a layer that was built of the same things before; one that was damaged since is as if absent."""
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        contents = tuple(Content(**content) for content in found["contents"])
        insides = {name: Inside(**inside) for name, inside in found["insides"].items()}
        layer = Layer(found["sha256"], contents, insides, found["saved"], found["libraries"])
        return layer if hash_file(path) == layer.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forget_old(newest: Path) -> None:
    """Keep the layers built last, of those in the cache, and forget the others."""
    os.utime(newest)
    folders = sorted(newest.parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[_LAYERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(out: Path, layer_path: Path, function_path: Path, layer: Layer, manifest: Mapping[str, Any]) -> None:
    """Put the checked zips, and what describes them, into the folder that was asked for."""
    out.mkdir(parents=True, exist_ok=True)
    for path, key in ((layer_path, "layer"), (function_path, "function")):
        partial = out / f".{path.name}.partial"
        shutil.copyfile(path, partial)
        partial.replace(out / path.name)
        write_text(out / f"{path.name}.sha256", f"{manifest[key]['sha256']}  {path.name}\n")
    bill = describe_layer(layer.contents, layer.insides, layer.sha256)
    write_text(out / "pandas_layer.cdx.json", json.dumps(bill, indent=2) + "\n")
    write_text(out / "manifest.json", json.dumps(manifest, indent=2) + "\n")
