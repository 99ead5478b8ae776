"""Where AWS is, and as whom we speak to it: botocore's reading of the environment, a profile or a role."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from handler.definitions.errors import ConfigurationError
from handler.definitions.raw import RawObject

if TYPE_CHECKING:
    from botocore.session import Session

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_NO_CREDENTIALS: Final = "give the role of a function or machine, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"


class NoCredentialsError(Exception):
    """There is nothing to sign with."""


class Credentials(Protocol):
    """The part of botocore's frozen credentials that requests are signed with."""

    @property
    def access_key(self) -> str:
        """The key's id."""
        ...

    @property
    def secret_key(self) -> str:
        """The key."""
        ...

    @property
    def token(self) -> str | None:
        """The session's token; None for a user's own key."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a service.

    Attributes
    ----------
    url
        ``https://host`` or ``http://host``, with a port and a path where there are any.
    region
        The region that requests are signed for.
    read_credentials
        Called for every attempt, so that credentials may expire; raises :class:`NoCredentialsError` where botocore
        finds no credentials.
    user_agent
        The client's name in requests.
    ca_file
        The certificates that are trusted; None for those that the system trusts.
    proxy
        The URL of an HTTP proxy to tunnel through; None for a direct connection.
    """

    url: str
    region: str
    read_credentials: Callable[[], Credentials]
    user_agent: str = "feature-pipeline"
    ca_file: str | None = None
    proxy: str | None = None

    @property
    def is_encrypted(self) -> bool:
        """Tell whether it speaks TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, the scheme's own where the URL names no port."""
        return urlsplit(self.url).port or self._usual_port

    @property
    def authority(self) -> str:
        """The host as the header ``Host`` names it: with its port where that is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self._usual_port else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """The path that requests are posted to."""
        return quote(urlsplit(self.url).path.rstrip("/") + "/", safe="/~")

    @property
    def _usual_port(self) -> int:
        return 443 if self.is_encrypted else 80

    def read_certificates(self) -> bytes | None:
        """Read the certificates that ``AWS_CA_BUNDLE`` trusts.

        Returns
        -------
        bytes or None
            PEM certificates without the text between; None if the system's certificates are trusted.

        Raises
        ------
        ConfigurationError
            If the file cannot be read, or holds no certificate.
        """
        if self.ca_file is None:
            return None
        try:
            found = b"".join(_CERTIFICATE.findall(Path(self.ca_file).read_bytes()))
        except OSError as error:
            raise ConfigurationError("AWS_CA_BUNDLE", f"{self.ca_file} cannot be read: {error.strerror}") from error
        if not found:
            raise ConfigurationError("AWS_CA_BUNDLE", f"{self.ca_file} holds no certificates")
        return found


def find_table_endpoint(url: str | None, region: str | None) -> Endpoint:
    """Find where DynamoDB is.

    Parameters
    ----------
    url
        The setting ``AWS_ENDPOINT_URL``, of all services; ``AWS_ENDPOINT_URL_DYNAMODB`` goes before it.
    region
        The setting ``AWS_REGION``; None leaves it to botocore's rules.

    Returns
    -------
    Endpoint
        Where requests go, and how they are signed.

    Raises
    ------
    ConfigurationError
        If the profile, the region or a valid URL is missing.
    """
    session, client = make_client("dynamodb", url, region)
    with closing(client):
        return _describe(client.meta.endpoint_url, session, client)


def find_bucket(bucket: str, url: str | None, region: str | None) -> Endpoint:
    """Find where a bucket is: its URL names it in the host or at the end of the path.

    Partitions, FIPS, dual stack and the style of addressing are those that boto3 would take.

    Parameters
    ----------
    bucket
        Its name.
    url
        The setting ``AWS_ENDPOINT_URL``, of all services; ``AWS_ENDPOINT_URL_S3`` goes before it.
    region
        The setting ``AWS_REGION``; None leaves it to botocore's rules.

    Returns
    -------
    Endpoint
        Where the bucket's requests go, and how they are signed.

    Raises
    ------
    ConfigurationError
        If the profile, the region, the credentials or a valid URL is missing.
    """
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415

    session, client = make_client("s3", url, region)
    urls: list[str] = []

    def answer(params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        urls.append(params["url"])
        return AWSResponse(params["url"], 200, {}, None), {}

    client.meta.events.register("before-call.s3.HeadBucket", answer)  # so that nothing is sent
    with closing(client):
        client.head_bucket(Bucket=bucket)
        found = _describe(urls[0], session, client)
    try:
        found.read_credentials()
    except NoCredentialsError as error:
        raise ConfigurationError("AWS credentials", f"{error}; {_NO_CREDENTIALS}") from error
    return found


class ListedKeys(NamedTuple):
    """A page of a listing: common prefixes, and keys with sizes, ETags and times of their last change."""

    prefixes: list[str]
    objects: list[RawObject]


def list_bucket(bucket: str, url: str | None, region: str | None, prefix: str, delimiter: str) -> Iterator[ListedKeys]:
    """List keys of a bucket through botocore, which can name all that S3 can hold.

    Parameters
    ----------
    bucket
        Its name.
    url
        The setting ``AWS_ENDPOINT_URL``, see :func:`find_bucket`.
    region
        The setting ``AWS_REGION``; None leaves it to botocore's rules.
    prefix
        What the keys begin with.
    delimiter
        Keys that hold it after the prefix are given as one prefix up to it; empty for all keys.

    Yields
    ------
    ListedKeys
        1,000 at a time.

    Raises
    ------
    OSError
        If S3 refuses or does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    _, client = make_client("s3", url, region)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter=delimiter)
    with closing(client):
        try:
            for page in pages:
                contents = (
                    RawObject(each["Key"], each["Size"], each["ETag"], each["LastModified"].isoformat())
                    for each in page.get("Contents", ())
                )
                yield ListedKeys([each["Prefix"] for each in page.get("CommonPrefixes", ())], list(contents))
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error


def make_client(service: str, url: str | None, region: str | None, **config: Any) -> tuple["Session", Any]:
    """Make a client of a service; botocore is imported only when it is needed.

    Parameters
    ----------
    service
        As botocore names it.
    url
        The setting ``AWS_ENDPOINT_URL``, of all services; that of the service goes before it.
    region
        The setting ``AWS_REGION``; None leaves it to the environment and the profile.
    **config
        As of botocore's ``Config``.

    Returns
    -------
    session : Session
        It knows the credentials.
    client
        Of the service.

    Raises
    ------
    ConfigurationError
        If the profile, the region or a valid URL is missing.
    """
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ProfileNotFound  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    general = None if os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") else url
    try:
        client = session.create_client(
            service, region_name=_find_region(session, region), endpoint_url=general, config=Config(**config)
        )
    except ProfileNotFound as error:
        raise ConfigurationError("AWS_PROFILE", f"{error}; name one of ~/.aws/config") from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError("AWS_ENDPOINT_URL", f"no client of {service} can be made: {error}") from error
    return session, client


def _find_region(session: "Session", region: str | None) -> str:
    """Find the region; botocore would take a bucket without one for a bucket in us-east-1."""
    found: str | None = region or session.get_config_variable("region")
    if not found:
        raise ConfigurationError("AWS_REGION", "is not set; set it, or the region of the profile")
    return found


def _describe(url: str, session: "Session", client: Any) -> Endpoint:
    return Endpoint(
        url=url,
        region=client.meta.region_name,
        read_credentials=_make_reader(session),
        user_agent=client.meta.config.user_agent,
        ca_file=_find_certificates(session),
        proxy=_find_proxy(url),
    )


def _find_proxy(url: str) -> str | None:
    from botocore.httpsession import ProxyConfiguration  # noqa: PLC0415
    from botocore.utils import get_environ_proxies  # noqa: PLC0415

    proxy: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return proxy


def _find_certificates(session: "Session") -> str | None:
    from botocore.httpsession import get_cert_path  # noqa: PLC0415

    chosen = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    found: str | None = get_cert_path(chosen)
    return found


def _make_reader(session: "Session") -> Callable[[], Credentials]:
    """Look for credentials once; botocore refreshes those of a role when they are read near their end."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    credentials = session.get_credentials()

    def read() -> Credentials:
        if credentials is None:
            raise NoCredentialsError("Unable to locate credentials")
        try:
            frozen: Credentials = credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentialsError(str(error)) from error
        return frozen

    return read
