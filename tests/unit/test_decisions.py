"""Each decision says whether it holds and since when, and the index says the same."""

import re
from pathlib import Path

import pytest

DECISIONS = Path(__file__).parents[2] / "docs" / "adr"
FILES = sorted(DECISIONS.glob("[0-9]*.md"))
STATUS = re.compile(r"Status: (accepted|superseded by (\d{4})) · (\d{4}-\d{2}-\d{2}(, revised \d{4}-\d{2}-\d{2})?)")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_decision_has_a_status_and_a_date_under_its_title(path: Path) -> None:
    title, empty, status, *_ = path.read_text(encoding="utf-8").splitlines()
    number = path.name[:4]
    assert title.startswith(f"# {number}. ")
    assert empty == ""
    match = STATUS.fullmatch(status)
    assert match
    if match[2] is not None:
        assert list(DECISIONS.glob(f"{match[2]}-*.md")), f"there is no {match[2]}"
    row = f"| [{number}]({path.name}) | {title.removeprefix(f'# {number}. ')} | {match[1]} | {match[3]} |"
    assert row in (DECISIONS / "README.md").read_text(encoding="utf-8").splitlines()


def test_index_lists_nothing_else() -> None:
    assert re.findall(r"^\| \[(\d{4})\]", (DECISIONS / "README.md").read_text(encoding="utf-8"), re.MULTILINE) == [
        path.name[:4] for path in FILES
    ]
