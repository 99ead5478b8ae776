"""Signatures are botocore's, byte for byte."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from handler.aws import Endpoint
from handler.stores.signature import Signer
from tests.table_server import Key

URLS = [
    "https://dynamodb.us-east-1.amazonaws.com",
    "http://127.0.0.1:4566/",
    "https://host:443",
    "http://host:443",
    "https://HOST:8443/some path/x",
    "http://[::1]:8000",
]


@dataclass(frozen=True)
class Case:
    url: str
    region: str
    secret: str
    token: str | None
    body: bytes
    instant: datetime


def sign_as_botocore(case: Case, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(auth, "get_current_datetime", lambda: case.instant)
    url = case.url if Endpoint(case.url, "", Key).path == "/" else case.url + "/"
    others = {name: value for name, value in headers.items() if name != "Host"}
    request = AWSRequest("POST", url, headers=others, data=case.body)
    auth.SigV4Auth(ReadOnlyCredentials("AKID", case.secret, case.token), "dynamodb", case.region).add_auth(request)
    return {name: value for name, value in request.headers.items() if name not in others}


@given(
    st.builds(
        Case,
        st.sampled_from(URLS),
        st.sampled_from(["us-east-1", "sa-east-1", "us-gov-west-1"]),
        st.text("abcXYZ0123/+=", min_size=1, max_size=40),
        st.none() | st.text("abcXYZ0123/+=", min_size=1, max_size=200),
        st.binary(min_size=1, max_size=500),
        st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    )
)
def test_signature_is_botocores(case: Case) -> None:
    endpoint = Endpoint(case.url, case.region, Key)
    headers = {
        "Host": endpoint.authority,
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.PutItem",
    }
    signer = Signer(case.region, endpoint.path, headers)
    ours = signer.sign(case.body, ReadOnlyCredentials("AKID", case.secret, case.token), case.instant)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert ours == sign_as_botocore(case, headers, monkeypatch)
