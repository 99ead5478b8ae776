"""Signatures of requests to DynamoDB: AWS's Signature Version 4, of one method, one path and no query."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from handler.aws import Credentials

_SERVICE: Final = "dynamodb"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs ``POST`` requests of one host.

    Attributes
    ----------
    region
        The region the table is in.
    path
        The request's path, percent-encoded.
    headers
        Those signed with every request, ``Host`` among them.
    """

    region: str
    path: str
    headers: Mapping[str, str]

    def sign(self, body: bytes, credentials: Credentials, instant: datetime) -> dict[str, str]:
        """Return the headers that make a request valid for five minutes around the instant, UTC.

        References
        ----------
        AWS Identity and Access Management User Guide, "Create a signed AWS API request".
        """
        stamp = instant.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/{_SERVICE}/aws4_request"
        added = {"X-Amz-Date": stamp}
        if credentials.token:
            added["X-Amz-Security-Token"] = credentials.token
        signed = sorted((name.lower(), value) for name, value in (*self.headers.items(), *added.items()))
        names = ";".join(name for name, _ in signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed)
        request = f"POST\n{self.path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = _make_key(credentials.secret_key, stamp[:8], self.region)
        added["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={_hash(key, text).hex()}"
        )
        return added


@lru_cache(maxsize=4)
def _make_key(secret: str, day: str, region: str) -> bytes:
    """Derive the key that signs a day's requests."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, _SERVICE, "aws4_request"):
        key = _hash(key, part)
    return key


def _hash(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
