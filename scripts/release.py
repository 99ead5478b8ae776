"""Write a release of the Terraform module: ``make module``. Whoever uses it needs no build, no Python and no CDKTF.

The archive holds the module, the zips that the build made and checked, their manifest and the layer's bill of
materials. Beside it lie its SHA-256, and the bill again. The same sources give the same bytes.
"""

import argparse
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

from layer_build.archive import write_archive, write_text
from layer_build.build import Order, build
from layer_build.cache import find_cache
from layer_build.target import PYTHONS, TARGETS

ROOT = Path(__file__).resolve().parents[1]
_MODULE = ("main.tf.json", "README.md")
_BILL = "pandas_layer.cdx.json"


def write_release(out: Path, built: Path, name: str) -> Path:
    """Write the archive, and what lies beside it.

    Parameters
    ----------
    out
        The folder to write to.
    built
        What ``make build`` wrote.
    name
        The archive's name, without its ending.

    Returns
    -------
    Path
        The archive.
    """
    files = {file: (ROOT / "modules" / "processing" / file).read_bytes() for file in _MODULE}
    files |= {f"lambda_artifacts/{path.name}": path.read_bytes() for path in built.iterdir() if path.is_file()}
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    archive = out / f"{name}.zip"
    digest = write_archive(archive, files)
    write_text(out / f"{name}.cdx.json", (built / _BILL).read_text(encoding="utf-8"))
    write_text(out / f"{name}.zip.sha256", f"{digest}  {archive.name}\n")
    return archive


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="make module", description=__doc__)
    parser.add_argument("--arch", choices=sorted(TARGETS), default="x86_64", help="the function's (default: x86_64)")
    parser.add_argument("--python", choices=PYTHONS, default=PYTHONS[0], help="the runtime's (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "release", metavar="DIR", help="default: ./release")
    options = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with tempfile.TemporaryDirectory() as folder:
        target = replace(TARGETS[options.arch], python=options.python)
        build(Order(ROOT, Path(folder), find_cache(), target), report=lambda step: print(step, file=sys.stderr))  # noqa: T201
        archive = write_release(
            options.out, Path(folder), f"processing-{version}-python{options.python}-{options.arch}"
        )
    print(archive)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
