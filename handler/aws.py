"""Where DynamoDB is, and as whom we speak to it: what botocore makes of the environment, a profile or a role."""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from handler.definitions.errors import ConfigurationError

if TYPE_CHECKING:
    from botocore.session import Session


class NoCredentialsError(Exception):
    """There is nothing to sign with."""


class Credentials(Protocol):
    """What botocore's ``get_frozen_credentials`` returns."""

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
    """One address of the service.

    Attributes
    ----------
    url
        ``https://host`` or ``http://host``, with a port and a path where there are any.
    region
        What requests are signed for.
    read_credentials
        Called for every attempt, so that credentials may expire; raises
        :class:`NoCredentialsError` where there are none.
    user_agent
        What requests say they come from.
    ca_file
        The certificates that are trusted; None for those that Python trusts.
    proxy
        The URL of an HTTP proxy to tunnel through; None for none.
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
        """The port, the scheme's own where the URL names none."""
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

    def make_tls(self) -> ssl.SSLContext | None:
        """Load the certificates; None where the endpoint is not encrypted.

        Raises
        ------
        ConfigurationError
            If they cannot be read.
        """
        if not self.is_encrypted:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            problem = f"{self.ca_file} holds no certificates: {error}"
            raise ConfigurationError("AWS_CA_BUNDLE", problem) from error


def find_endpoint(url: str | None, region: str | None) -> Endpoint:
    """Ask botocore for the endpoint, the credentials, the proxy and the certificates; it is imported only here.

    Parameters
    ----------
    url, region
        What the function's settings say; None leaves them to botocore's rules. ``AWS_ENDPOINT_URL_DYNAMODB`` goes
        before the URL, which is that of all services.

    Raises
    ------
    ConfigurationError
        If there is no region, the URL is none, or the proxy itself asks for TLS.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    general = None if os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") else url
    try:
        client = session.create_client("dynamodb", region_name=region, endpoint_url=general)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError("AWS_REGION", f"the table's client cannot be made: {error}") from error
    client.close()
    found = client.meta.endpoint_url
    return Endpoint(
        url=found,
        region=client.meta.region_name,
        read_credentials=_make_reader(session),
        user_agent=client.meta.config.user_agent,
        ca_file=_find_certificates(session),
        proxy=_find_proxy(found),
    )


def _find_proxy(url: str) -> str | None:
    from botocore.httpsession import ProxyConfiguration  # noqa: PLC0415
    from botocore.utils import get_environ_proxies  # noqa: PLC0415

    proxy: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    if proxy is not None and urlsplit(proxy).scheme != "http":
        raise ConfigurationError("HTTPS_PROXY", "the table cannot be reached through it; give a proxy of http://")
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
