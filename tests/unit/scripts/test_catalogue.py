"""docs/features.md holds the catalogue's own table."""

from machine_features.catalogue import STATISTICS
from scripts.catalogue import PAGE, write_page


def test_table_of_the_docs_is_the_catalogues() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert write_page(text) == text
    assert all(f"\n| `{name}` |" in text for name in STATISTICS)
