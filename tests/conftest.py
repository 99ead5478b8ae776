"""What tests share: no real AWS, an emulated one on the loopback, and one real build of the artifacts a session."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.builds import MACHINE_ARCH, Built, run_build
from tests.harness import Aws, emulated_aws
from tests.profiles import load_profile

load_profile()

SHARED = Path(__file__).resolve().parents[2] / "shared"


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Keep tests in one process that share what takes long to make: one build, one deployment, lakes, libraries.

    Files of tests/infrastructure that need a deployment of their own have a process to themselves. Terraform's provider
    waits most of the time, so three processes keep two cores busy.
    """

    _APART = ("deployer", "examples", "module", "readers", "scaled_run", "upgrade", "whole_system")

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        folder = "/".join(path.split("/")[:2])
        if folder == "tests/infrastructure" and not path.endswith(tuple(f"/test_{name}.py" for name in self._APART)):
            return folder
        if folder in ("tests/benchmarks", "tests/runtime"):
            return folder
        return path if path.startswith(("tests/infrastructure/", "tests/unit/layer_build/")) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Deal out tests so, where several processes run tests.

    pytest-xdist's own groups need a mark, which its release 3.8 does not see under pytest 9.2.
    """
    return FolderScheduling(config, log)


@pytest.fixture(autouse=True)
def _no_real_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever this machine knows of AWS, so that no test can reach it."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name)
    credentials: Mapping[str, str] = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shared() -> Path:
    """The folder of real data sets, which lies beside a checkout, if at all."""
    if not (SHARED / "tools" / "to_lake.py").exists():
        pytest.skip("the real data sets are not here: there is no ../shared beside the checkout")
    return SHARED


@pytest.fixture
def aws(_no_real_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An emulated AWS on the loopback, with the bucket ``lake`` and the table ``features``."""
    with emulated_aws() as emulated:
        for name, value in emulated.environment.items():
            monkeypatch.setenv(name, value)
        yield emulated


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session of tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def build_cache(of_all_processes: Path) -> Path:
    return of_all_processes / "cache"


@pytest.fixture(scope="session")
def first(build_cache: Path, of_all_processes: Path) -> Built:
    """The first build on a machine: nothing is in the cache. Whichever process needs it first makes it."""
    out = of_all_processes / "first"
    said = of_all_processes / "first.json"
    with (of_all_processes / "first.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not said.exists():
            built = run_build(out, build_cache, "--arch", MACHINE_ARCH)
            said.write_text(json.dumps([built.manifest, built.log, built.seconds]))
    return Built(out, *json.loads(said.read_text()))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate of ``localhost``, and that of the authority which signed it, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("localhost", "authority")]
    now = datetime.now(UTC)
    server, authority = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == names[1], path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(keys[1], hashes.SHA256())
        for number, (key, name) in enumerate(zip(keys, names, strict=True), start=1)
    )
    pem = serialization.Encoding.PEM
    path = tmp_path / "localhost.pem"
    path.write_bytes(
        keys[0].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + server.public_bytes(pem)
        + authority.public_bytes(pem)
    )
    return path
