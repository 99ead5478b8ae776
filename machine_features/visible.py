"""Text of a lake as a person reads it: nothing in it acts on a terminal, a page or a spreadsheet."""

import json
from typing import Final

import polars as pl

_FORMULA: Final = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""Beginnings of a cell that a spreadsheet takes for a formula; four of them twice as wide."""


def make_visible(text: str, *, keep: str = "") -> str:
    r"""Write characters that do not print as escapes: those of terminals, line ends, and changes of direction.

    Parameters
    ----------
    text
        Any text.
    keep
        Characters to leave alone.

    Returns
    -------
    str
        Printable characters only, and those kept.

    Examples
    --------
    >>> print(make_visible("Motor ñ \x1b[31m"))
    Motor ñ \u001b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    """Write a character as JSON does; a lone surrogate too."""
    return json.dumps(character)[1:-1] if character > "\x7f" else f"\\u{ord(character):04x}"


def show_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Make the texts of a frame visible.

    Parameters
    ----------
    frame
        Any columns.

    Returns
    -------
    pl.DataFrame
        The same; texts have printable characters only.
    """
    return frame.with_columns(pl.selectors.string().map_batches(_make_all_visible, return_dtype=pl.String))


def _make_all_visible(texts: pl.Series) -> pl.Series:
    return pl.Series(texts.name, [None if text is None else make_visible(text) for text in texts], dtype=pl.String)


def disarm_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before texts that a spreadsheet would take for formulas, as spreadsheets do themselves.

    Parameters
    ----------
    frame
        Any columns.

    Returns
    -------
    pl.DataFrame
        The same; no text begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end.
    """
    text = pl.selectors.string()
    return frame.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep())
