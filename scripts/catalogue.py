"""Write the table of statistics in docs/features.md from the catalogue: ``make catalogue``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "features.md"
_BEGIN, _END = "<!-- from the catalogue: make catalogue -->\n", "<!-- end of the catalogue -->\n"

sys.path[:0] = [str(ROOT)]


def write_page(page: str) -> str:
    """Put the catalogue's table into the text of the page."""
    from machine_features.catalogue import write_table  # noqa: PLC0415 - with Polars

    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}{write_table()}{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
