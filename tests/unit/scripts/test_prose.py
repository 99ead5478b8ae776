"""Which sentences break a rule of English, and where they are said to stand."""

from pathlib import Path

import pytest

from scripts.prose import check_files, check_text, read_markdown, read_python

LONG = " ".join(["Word"] * 26)
LIMIT = " ".join(["Word"] * 25)


def find(text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.problem) for finding in check_text(enumerate(text.splitlines(), 1), "a.py")]


def test_sentence_of_26_words_is_found_and_one_of_25_is_not() -> None:
    assert find(f"{LIMIT}. {LIMIT}.") == []
    assert find(f"{LIMIT}. {LONG}.") == [(1, "26 words")]


def test_sentence_is_named_by_the_line_on_which_it_begins() -> None:
    half = " ".join(["word"] * 13)
    assert find(f"First.\n\nSecond. Third {half}\n{half}.") == [(3, "27 words")]


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("Read what is there.", "what is"),
        ("What of the rest?", "what of"),
        ("So many lines are kept.", "so many"),
        ("Lines go, as are others.", "as are"),
        ("Keep all of them.", "of them"),
        ("The line is left\nto others.", "is left"),
        ("There is none.", "none as a noun"),
        ("None of these hold.", "none as a noun"),
    ],
)
def test_listed_phrase_is_found(sentence: str, phrase: str) -> None:
    assert find(sentence) == [(1, f"“{phrase}”")]


def test_names_in_code_are_one_word_and_hold_no_phrase() -> None:
    assert find("Return ``what is left of them`` or None where it is absent.") == []
    assert find(f"{' '.join(['word'] * 24)} ``a b c``.") == []


@pytest.mark.parametrize(
    "text",
    [
        f"Examples\n--------\n>>> call()\n{LONG}",
        f"A tree::\n\n    {LONG}\n\n    {LONG}\n\nThe end.",
        f"====  ====\n{LIMIT.replace('Word', 'a')}  b\n====  ====",
        f"| {LONG} |",
        f"Parameters\n----------\n{LONG}\n    It is short.",
        f"- {LIMIT}\n- {LIMIT}",
        f"{LIMIT}\n\n{LIMIT}",
    ],
)
def test_code_tables_names_items_and_paragraphs_do_not_run_on(text: str) -> None:
    assert find(text) == []


def test_description_of_a_parameter_is_prose() -> None:
    assert find(f"Do it.\n\nParameters\n----------\nname\n    {LONG}.") == [(6, "26 words")]


def test_docstrings_and_comments_of_python_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""Module."""\n# First\n# second.\nx = 1  # noqa: S1 - third\n\n\ndef f():\n    """Function."""\n')
    texts = [" ".join(text for _, text in lines) for lines in read_python(path)]
    assert [text for text in texts if text] == ["Module.", "Function.", "First second.", "third"]


def test_comments_of_c_are_read_and_findings_are_sorted(tmp_path: Path) -> None:
    (tmp_path / "b.c").write_text("int a;\n/* All\n * of them. */\nint b; // what is b\n")
    (tmp_path / "a.py").write_text('"""It is left."""\n')
    (tmp_path / "notes.txt").write_text("what is this\n")
    found = [str(finding) for finding in check_files([tmp_path], tmp_path)]
    assert found == [
        "a.py:1: “is left”: It is left.",
        "b.c:2: “of them”: All of them.",
        "b.c:4: “what is”: what is b",
    ]


def test_page_is_read_without_code_headings_and_tables_and_links_by_their_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# What is this\n\nSee [the guide](what is.md).\n\n```\nwhat is\n```\n| what is |\n\n- What is this.\n"
    )
    assert [line for line in next(read_markdown(page)) if line[1]] == [(3, "See the guide."), (10, "- What is this.")]
    assert [(finding.line, finding.problem) for finding in check_files([page], tmp_path)] == [(10, "“what is”")]
