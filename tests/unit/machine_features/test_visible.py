"""Text of a lake is shown as text: on a terminal, on a page, in a spreadsheet."""

import json
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine_features.__main__ import main
from machine_features.visible import disarm_formulas, make_visible, show_frame
from tests.harness import Pipeline, at, line, write_raw

ODD = ["[/foo]", "A[bold]B", "\x1b[31mRED", "=HYPERLINK(1)", "a\nb", "\u202eabc", "<b>x</b>"]
SPAN = ["2025-10-15T08:00:00Z", "2025-10-15T09:00:00Z"]
COUNT = "vibration_rms_count_1h"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_visible_text_prints_and_says_what_it_was(text: str) -> None:
    shown = make_visible(text)
    assert shown.isprintable()
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp") for character in shown)
    if "\\" not in text and '"' not in text:
        assert json.loads(f'"{shown}"') == text
    assert make_visible(shown) == shown


def test_texts_of_a_frame_are_visible_and_numbers_stay() -> None:
    frame = pl.DataFrame({"n": [1.5, None], "text": ["\x9b2J", None], "other": ["ñ 機", "\x7f"]})
    assert show_frame(frame).rows() == [(1.5, "\\u009b2J", "ñ 機"), (None, None, "\\u007f")]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1"])
def test_text_that_begins_like_a_formula_is_none_in_a_spreadsheet(text: str) -> None:
    frame = pl.DataFrame({"text": [text, f"x{text}", None], "number": [-1.0, 2.0, None]})
    assert disarm_formulas(frame).rows() == [(f"'{text}", -1.0), (f"x{text}", 2.0), (None, None)]


@pytest.fixture
def lake(tmp_path: Path) -> list[str]:
    write_raw(tmp_path, at(8), "a.jsonl", [line(machine, at(8.5), vibration=1) for machine in ODD])
    write_raw(tmp_path, at(8), "b.jsonl", [line(machine, at(8.5), codigo_evento=machine) for machine in ODD])
    Pipeline(tmp_path).run(at(9))
    return ["--lake", tmp_path.as_uri()]


def test_command_prints_no_character_that_acts_on_a_terminal(
    lake: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["training", *SPAN, *lake, "--features", COUNT]) == 0
    shown = capsys.readouterr().out
    assert shown.replace("\n", "").isprintable()
    assert all(text in shown for text in ("[/foo]", "A[bold]B", "\\u001b[31mRED", "a\\u000ab", "\\u202eabc"))
    assert main(["training", *SPAN, *lake, "--features", COUNT, "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.replace("\n", "").isprintable()
    assert sorted(json.loads(row)["machine_id"] for row in shown.splitlines()) == sorted(ODD)
    assert main(["training", *SPAN, "--lake", "file:///no\x1b[31m"]) == 2
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_spreadsheet_gets_no_formula_and_parquet_the_text_itself(lake: list[str], tmp_path: Path) -> None:
    for name in ("rows.csv", "rows.parquet"):
        assert main(["training", *SPAN, *lake, "--features", COUNT, "--out", str(tmp_path / name)]) == 0
    disarmed = ["'" + text if text.startswith("=") else text for text in ODD]
    assert sorted(pl.read_csv(tmp_path / "rows.csv")["machine_id"]) == sorted(disarmed)
    assert sorted(pl.read_parquet(tmp_path / "rows.parquet")["machine_id"]) == sorted(ODD)


def test_report_shows_ids_and_codes_as_text(lake: list[str], tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra report is not installed")
    assert main(["report", *lake, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = page.partition("<script>")[0] + page.rpartition("</script>")[2]
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert all(text in page for text in ("\\u202eabc", "\\u001b[31mRED"))
    assert not {"\x1b", "\u202e"} & set(page)
