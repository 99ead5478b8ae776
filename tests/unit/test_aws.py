"""What a user can configure reaches the requests."""

import json
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from obstore.store import S3Store

from handler.app import connect_dynamodb
from handler.aws import Endpoint, NoCredentialsError, find_bucket, find_table_endpoint
from handler.definitions.errors import ConfigurationError
from handler.lake.lake import Lake
from handler.stores.dynamodb import DynamoDB
from tests.table_server import Key


def test_region_and_endpoint_are_those_of_the_service() -> None:
    found = find_table_endpoint(None, "sa-east-1")
    assert (found.url, found.region) == ("https://dynamodb.sa-east-1.amazonaws.com", "sa-east-1")
    assert (found.host, found.port, found.path) == ("dynamodb.sa-east-1.amazonaws.com", 443, "/")
    assert found.authority == "dynamodb.sa-east-1.amazonaws.com"
    assert "Botocore" in found.user_agent
    assert find_table_endpoint(None, None).region == "us-east-1"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"AWS_ENDPOINT_URL": "http://general:1"}, "http://general:1"),
        ({"AWS_ENDPOINT_URL": "http://general:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://own:2"}, "http://own:2"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.us-east-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "https://dynamodb.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_variables_of_aws_are_obeyed(variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_table_endpoint(None, None).url == url
    given = find_table_endpoint("http://given:3", None).url
    assert given == (url if "AWS_ENDPOINT_URL_DYNAMODB" in variables else "http://given:3")


def test_profile_gives_region_credentials_and_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile plant]\nregion = eu-west-1\naws_access_key_id = AK\naws_secret_access_key = SK\nca_bundle = /ca.pem\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "plant")
    found = find_table_endpoint(None, None)
    assert (found.region, found.ca_file) == ("eu-west-1", "/ca.pem")
    assert (found.read_credentials().access_key, found.read_credentials().secret_key) == ("AK", "SK")


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_certificates_are_those_of_the_variable(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(find_table_endpoint(None, None).ca_file or "")
    assert own.exists()
    bundle = tmp_path / "ca.pem"
    bundle.write_text(own.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv(name, str(bundle))
    found = find_table_endpoint(None, None)
    assert found.ca_file == str(bundle)
    assert (found.read_certificates() or b"").count(b"BEGIN CERTIFICATE") > 50
    bundle.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"^AWS_CA_BUNDLE: .*ca\.pem holds no certificates"):
        DynamoDB(find_table_endpoint(None, None))
    with pytest.raises(ConfigurationError, match=r"^AWS_CA_BUNDLE: .*ca\.pem holds no certificates"):
        Lake.open("plant-lake")
    bundle.unlink()
    with pytest.raises(ConfigurationError, match=r"^AWS_CA_BUNDLE: .*ca\.pem cannot be read: No such file"):
        DynamoDB(find_table_endpoint(None, None))


def test_missing_region_and_wrong_url_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"^AWS_ENDPOINT_URL: no client of dynamodb .*Invalid endpoint"):
        find_table_endpoint("no url", "us-east-1")
    with pytest.raises(ConfigurationError, match=r"^AWS_ENDPOINT_URL: no client of s3 .*Invalid endpoint"):
        Lake.open("plant-lake", endpoint="no url", region="us-east-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for find in (find_table_endpoint, partial(find_bucket, "plant-lake")):
        with pytest.raises(ConfigurationError, match=r"^AWS_REGION: is not set; set it, or the region of the profile"):
            find(None, None)
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    for find in (find_table_endpoint, partial(find_bucket, "plant-lake")):
        with pytest.raises(
            ConfigurationError, match=r"^AWS_PROFILE: The config profile \(nobodys\) could not be found"
        ):
            find(None, None)


def test_proxy_is_taken_where_none_is_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "near.example")
    assert find_table_endpoint(None, None).proxy == "http://user:pass@proxy:3128"
    assert find_table_endpoint("https://near.example", None).proxy is None
    assert find_bucket("plant-lake", None, None).proxy == "http://user:pass@proxy:3128"


def test_credentials_that_end_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def renew() -> dict[str, str]:
        nonlocal made
        made += 1
        end = datetime.now(UTC) + timedelta(seconds=1 if made == 1 else 3600)
        return {"access_key": f"AK{made}", "secret_key": "SK", "token": f"T{made}", "expiry_time": end.isoformat()}

    ending = RefreshableCredentials.create_from_metadata(renew(), renew, "a test")
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: ending)
    frozen = find_table_endpoint(None, None).read_credentials()
    assert (frozen.access_key, frozen.token, made) == ("AK2", "T2", 2)


def test_without_credentials_reading_them_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(NoCredentialsError, match="Unable to locate credentials"):
        find_table_endpoint(None, None).read_credentials()


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://h:80", "h", "/"),
        ("https://h:80/", "h:80", "/"),
        ("http://[::1]:8000/a b/", "[::1]:8000", "/a%20b/"),
    ],
)
def test_host_and_path_are_written_as_they_are_signed(url: str, authority: str, path: str) -> None:
    endpoint = Endpoint(url, "us-east-1", Key)
    assert (endpoint.authority, endpoint.path) == (authority, path)


def test_client_is_made_once() -> None:
    connect_dynamodb.cache_clear()
    made: Any = connect_dynamodb(None, "us-east-1")
    assert connect_dynamodb(None, "us-east-1") is made
    connect_dynamodb.cache_clear()


def open_store(bucket: str, **variables: str) -> S3Store:
    """Open a bucket where these variables are set; the store that was opened."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = Lake.open(bucket)._store
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize(
    ("bucket", "variables", "endpoint"),
    [
        ("plant-lake", {}, "https://plant-lake.s3.sa-east-1.amazonaws.com"),
        ("plant.lake", {}, "https://s3.sa-east-1.amazonaws.com"),
        ("plant-lake", {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://plant-lake.s3-fips.sa-east-1.amazonaws.com"),
        (
            "plant-lake",
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://plant-lake.s3.dualstack.sa-east-1.amazonaws.com",
        ),
        (
            "plant-lake",
            {"AWS_DEFAULT_REGION": "cn-north-1"},
            "https://plant-lake.s3.cn-north-1.amazonaws.com.cn",
        ),
        (
            "plant-lake",
            {"AWS_DEFAULT_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
            "https://plant-lake.s3-fips.us-gov-west-1.amazonaws.com",
        ),
        (
            "plant-lake",
            {"AWS_DEFAULT_REGION": "us-iso-east-1"},
            "https://plant-lake.s3.us-iso-east-1.c2s.ic.gov",
        ),
        ("plant-lake", {"AWS_ENDPOINT_URL": "http://general:1"}, "http://general:1"),
        (
            "plant-lake",
            {"AWS_ENDPOINT_URL_S3": "http://own:2/s3", "AWS_ENDPOINT_URL": "http://general:1"},
            "http://own:2/s3",
        ),
    ],
)
def test_bucket_is_where_botocore_would_look(bucket: str, variables: dict[str, str], endpoint: str) -> None:
    store = open_store(bucket, **({"AWS_DEFAULT_REGION": "sa-east-1"} | variables))
    config = dict(store.config)
    assert (config["bucket"], config["endpoint"]) == (bucket, endpoint)
    assert config["virtual_hosted_style_request"] == str(f"//{bucket}." in endpoint).lower()
    assert config["region"] == variables.get("AWS_DEFAULT_REGION", "sa-east-1")


def test_settings_of_a_profile_reach_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile plant]\nregion = eu-west-1\nuse_dualstack_endpoint = true\ncredential_process = "
        f"{sys.executable} {tmp_path / 'keys.py'}\n"
    )
    keys = {"Version": 1, "AccessKeyId": "AKP", "SecretAccessKey": "SK", "SessionToken": "T"}
    (tmp_path / "keys.py").write_text(f"print({json.dumps(json.dumps(keys))})")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "plant")
    store = open_store("plant-lake")
    assert dict(store.config)["endpoint"] == "https://plant-lake.s3.dualstack.eu-west-1.amazonaws.com"
    provider: Any = store.credential_provider
    found = provider()
    assert (found["access_key_id"], found["secret_access_key"], found["token"]) == ("AKP", "SK", "T")
    assert timedelta(minutes=1) < found["expires_at"] - datetime.now(UTC) < timedelta(minutes=10)


def test_bucket_without_credentials_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(ConfigurationError, match=r"^AWS credentials: Unable to locate credentials; give .*AWS_PROFILE"):
        Lake.open("plant-lake")


def test_single_sign_on_is_asked_for_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile plant]\nregion = eu-west-1\nsso_start_url = https://sso.example/start\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "plant")
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody has signed on
    with pytest.raises(ConfigurationError, match=r"^AWS credentials: .*[Tt]oken"):
        Lake.open("plant-lake")
