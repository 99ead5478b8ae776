"""Write a release of the Terraform module: ``make module``. Whoever uses it needs no build, no Python and no CDKTF.

The archive holds the module, the zips that the build made and checked, their manifest and the layer's bill of
materials. Beside it lie its SHA-256, and the bill again. The same sources give the same bytes.
"""

import argparse
import sys
import tempfile
import tomllib
from pathlib import Path

from layer_build.__main__ import add_target
from layer_build.__main__ import main as build
from layer_build.archive import write_archive, write_text

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
    """Run the command line; return its exit status: 0, or that of the build."""
    parser = argparse.ArgumentParser(prog="make module", description=__doc__)
    add_target(parser)
    parser.add_argument("--out", type=Path, default=ROOT / "release", metavar="DIR", help="default: ./release")
    options = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    name = f"processing-{version}-python{options.python}-{options.arch}"
    with tempfile.TemporaryDirectory() as folder:
        status = build(["--arch", options.arch, "--python", options.python, "--out", folder])
        if status:
            return status
        archive = write_release(options.out, Path(folder), name)
    print(archive)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
