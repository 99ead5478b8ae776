"""The stage licences: each distribution goes into the layer with the text of its licence, as licences ask."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from layer_build.errors import WheelError

_TEXTS: Final = Path(__file__).with_name("licences")
_FILE: Final = re.compile(r"[^/]+\.dist-info/(?:.*/)?(?:licen[cs]e|copying)[^/]*", re.IGNORECASE)


def add_licence(name: str, files: Mapping[str, bytes], texts: Path = _TEXTS) -> dict[str, bytes]:
    """Add a licence's text to a distribution whose wheel was packed without one.

    Parameters
    ----------
    name
        The distribution's.
    files
        Bytes by path in the site folder.
    texts
        A folder with the texts that wheels lack, each as ``NAME.txt``.

    Returns
    -------
    dict of str to bytes
        The files, with a licence among them.

    Raises
    ------
    WheelError
        If neither the wheel nor the folder has one.
    """
    if any(_FILE.fullmatch(path) for path in files):
        return dict(files)
    try:
        text = (texts / f"{name}.txt").read_bytes()
    except FileNotFoundError:
        raise WheelError(
            f"{name}'s wheel holds no licence; put its text, from the project's own files, "
            f"into layer_build/licences/{name}.txt"
        ) from None
    folder = next(path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info"))
    return {**files, f"{folder}/licenses/LICENSE": text}
