"""Lists of names as people write them: one text is a list of one, and features may be globs."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from machine_features.errors import ArgumentError, UnknownNameError

Names = str | Iterable[str]

_WILDCARDS: Final = "*?["


def read_names(names: Names, what: str) -> list[str]:
    """Read a list of names.

    Parameters
    ----------
    names
        One, or several, in any collection.
    what
        What an error calls them.

    Returns
    -------
    list of str
        In their order.

    Raises
    ------
    ArgumentError
        If one is not text.

    Examples
    --------
    >>> read_names("PUMP-A01", "machines")
    ['PUMP-A01']
    """
    try:
        found = [names] if isinstance(names, str) else list(names)
    except TypeError as error:
        raise ArgumentError(f"{what} {names!r} must be names: one text, or a list") from error
    for name in found:
        if not isinstance(name, str):
            raise ArgumentError(f"{what} must be texts, and {name!r} is not")
    return found


def choose_features(wanted: Names, names: Sequence[str]) -> list[str]:
    """Choose features by name or by glob.

    Parameters
    ----------
    wanted
        Names, and globs such as ``"*_mean_1h"``.
    names
        Those that there are.

    Returns
    -------
    list of str
        In the order asked, each once; those of a glob in their own order.

    Raises
    ------
    UnknownNameError
        If there is no such feature; names the nearest.

    Examples
    --------
    >>> choose_features(["b_1h", "*_1h"], ["a_1h", "b_1h", "a_6h"])
    ['b_1h', 'a_1h']
    """
    chosen: dict[str, None] = {}
    for name in read_names(wanted, "features"):
        is_glob = name not in names and any(mark in name for mark in _WILDCARDS)
        found = [each for each in names if fnmatchcase(each, name)] if is_glob else [name]
        if not found or found[0] not in names:
            raise UnknownNameError("feature", name, names)
        chosen |= dict.fromkeys(found)
    return list(chosen)
