import pytest

from layer_build.docstrings import empty_docstrings, empty_source


def run(source: bytes) -> dict[str, object]:
    namespace: dict[str, object] = {}
    exec(compile(source, "pump.py", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def test_code_keeps_its_lines_and_its_meaning() -> None:
    source = b'"""Of the\nmodule."""\nclass A:\n    """Of the class."""\n\n'
    source += b'    def f(self):\n        """Only\n\n        this."""\n'
    source += b"def line():\n    '''One.'''\n    return __import__('sys')._getframe().f_lineno\n"
    emptied = empty_source(source)
    assert emptied.count(b"\n") == source.count(b"\n")
    before, after = run(source), run(emptied)
    assert before["line"]() == after["line"]() == 12  # type: ignore[operator]
    assert after["A"]().f() is None  # type: ignore[operator]
    assert after["__doc__"] == after["A"].__doc__ == after["A"].f.__doc__ == ""  # type: ignore[attr-defined]
    assert b"Only" not in emptied


@pytest.mark.parametrize(
    "source",
    [
        b'x = """no docstring"""\n',
        b'def f():\n    x = 1\n    """no docstring"""\n',
        b'def f(): """one line"""\n',
        b'def f():\n    """shared"""; x = 1\n',
        b'def f():\n    """shared\n    """; x = 1\n',
        b'def f():\n    ("""in brackets""")\n',
        b'def f():\n    f"""no {1} docstring"""\n',
        b'\xef\xbb\xbf"""after a mark"""\n',
        b'# coding: latin-1\n"""caf\xe9"""\n',
        b"no python (\n",
        b"",
    ],
)
def test_what_is_no_docstring_of_its_own_lines_stays(source: bytes) -> None:
    assert empty_source(source) == source


def test_letters_outside_ascii_do_not_move_the_cut() -> None:
    assert empty_source('def f():\n    "é"\n    return "ü"\n'.encode()) == 'def f():\n    ""\n    return "ü"\n'.encode()


def test_line_ends_of_other_systems_are_kept_outside_of_docstrings() -> None:
    assert empty_source(b'"""a\r\nb"""\r\nx = 1\r\n').count(b"\n") == 3


def test_only_modules_are_touched() -> None:
    files = {"a.py": b'"""a"""\n', "a.txt": b'"""a"""\n'}
    assert empty_docstrings(files) == {"a.py": b'""\n', "a.txt": b'"""a"""\n'}
