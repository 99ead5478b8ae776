"""Where a lake or an export lies, as people write it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from handler.definitions.layout import parse_folder_url
from machine_features.errors import ConfigurationError

Location = str | os.PathLike[str]

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FORMS: Final = "give a bucket, s3://bucket, a folder, or file:///folder"


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, or a folder of this machine.

    Attributes
    ----------
    name
        What :meth:`handler.lake.lake.Lake.open` takes: the bucket's name, or a ``file://`` URL.
    folder
        The folder; None for a bucket.
    prefix
        What keys in the bucket begin with; empty, or with a slash at its end.
    """

    name: str
    folder: Path | None = None
    prefix: str = ""

    @classmethod
    def read(cls, location: Location) -> Self:
        """Read a location.

        Parameters
        ----------
        location
            ``bucket``, ``s3://bucket/prefix``, a folder, a ``Path`` or ``file:///folder``. One word is a folder where
            there is one of this name, else a bucket.

        Returns
        -------
        Place
            It need not exist.

        Raises
        ------
        ConfigurationError
            If it names nothing like these.

        Examples
        --------
        >>> Place.read("s3://plant/features").prefix, Place.read("plant").folder, Place.read("/lake").name
        ('features/', None, 'file:///lake')
        """
        try:
            return cls._read(location)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError("lake", f"{location!r} names no place ({error}); {_FORMS}") from error

    @classmethod
    def _read(cls, location: Location) -> Self:
        text = os.fspath(location) if isinstance(location, str | os.PathLike) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise ConfigurationError("lake", f"{location!r} names no place; {_FORMS}")
        url = urlsplit(text) if isinstance(location, str) and re.match(r"(?i)[a-z][a-z0-9+.-]+:/", text) else None
        if url is None:
            if not isinstance(location, str) or re.search(r"^[.~]|[/\\]", text) or Path(text).is_dir():
                return cls._of_folder(Path(text).expanduser())
            return cls(cls._require_bucket(text, location))
        if url.scheme == "file" and url.netloc in ("", "localhost"):
            return cls._of_folder(parse_folder_url(text))
        if url.scheme == "s3":
            bucket = cls._require_bucket(url.netloc, location)
            if re.search(r"[?#\t\r\n]", text):
                raise ConfigurationError("lake", f"{text!r} has more than a bucket and a prefix; {_FORMS}")
            return cls(bucket, prefix=f"{url.path.strip('/')}/".lstrip("/"))
        raise ConfigurationError("lake", f"{text!r} names no place: {url.netloc!r} stands for a host; {_FORMS}")

    @classmethod
    def _of_folder(cls, folder: Path) -> Self:
        folder = folder.resolve()
        folder.is_dir()  # raises for a name that is too long
        return cls(folder.as_uri(), folder)

    @staticmethod
    def _require_bucket(name: str, location: Location) -> str:
        if not _BUCKET.fullmatch(name):
            raise ConfigurationError("lake", f"{location!r} is neither a folder nor a bucket's name; {_FORMS}")
        return name

    def require_whole(self) -> Self:
        """Refuse a part of a bucket: a lake is all of it."""
        if self.prefix:
            raise ConfigurationError(
                "lake", f"s3://{self.name}/{self.prefix} is not a whole bucket; give s3://{self.name}"
            )
        return self

    @property
    def url(self) -> str:
        """The folder's path, or ``s3://bucket``, as Polars takes it."""
        return f"s3://{self.name}" if self.folder is None else str(self.folder)
