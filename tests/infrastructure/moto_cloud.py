"""An emulated AWS in a process of its own, with access control: ``python -m tests.infrastructure.moto_cloud``.

moto checks actions and resources of policies, with gaps that are filled here. It takes ``StringLike`` conditions
for fulfilled; IAM's documentation says that a key which the request does not carry fulfils none. And it takes every
call of DynamoDB and Glue to be about ``*``, not about its table.
"""

import fnmatch
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"


@dataclass(frozen=True)
class Cloud:
    """Where the emulated AWS is."""

    endpoint: str

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client; of the account's root where no credentials are given."""
        root = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **(credentials or root))

    @contextmanager
    def access_control(self) -> Iterator[None]:
        """Check every call's permissions."""
        self._post("reset-auth", b"0")
        try:
            yield
        finally:
            self._post("reset-auth", b"inf")

    def assume(self, role_arn: str) -> dict[str, str]:
        """Temporary credentials of a role, as arguments of :meth:`client`."""
        answer = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": answer["AccessKeyId"],
            "aws_secret_access_key": answer["SecretAccessKey"],
            "aws_session_token": answer["SessionToken"],
        }

    def _post(self, path: str, data: bytes) -> None:
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/moto-api/{path}", data, headers)).close()


@contextmanager
def moto_cloud(environment: Mapping[str, str]) -> Iterator[Cloud]:
    """Start the server, and stop it."""
    command = [sys.executable, "-m", "tests.infrastructure.moto_cloud"]
    with subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Cloud(process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGTERM)


def _check_conditions(statement: Any, incoming_condition_values: object) -> bool:
    from flask import request

    carried = {"s3:prefix": request.args.get("prefix")}
    conditions = statement._statement.get("Condition", {}).get("StringLike", {})
    return all(
        (value := carried.get(key)) is not None and any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
        for key, patterns in ((key, [v] if isinstance(v, str) else v) for key, v in conditions.items())
    )


def _determine_table(response: Any) -> str:
    table = response.body.get("TableName") or next(iter(response.body.get("RequestItems", {})), None)
    return f"arn:aws:dynamodb:{response.region}:{response.current_account}:table/{table}" if table else "*"


def _determine_glue_table(response: Any) -> str:
    body = json.loads(response.body or "{}")
    database, table = body.get("DatabaseName"), body.get("Name")
    return f"arn:aws:glue:{response.region}:{response.current_account}:table/{database}/{table}" if database else "*"


if __name__ == "__main__":
    import logging

    from moto.dynamodb.responses import DynamoHandler
    from moto.glue.responses import GlueResponse
    from moto.iam import access_control
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    access_control.IAMPolicyStatement._check_conditions = _check_conditions  # type: ignore[method-assign,assignment]
    DynamoHandler._determine_resource = _determine_table  # type: ignore[attr-defined]
    GlueResponse._determine_resource = _determine_glue_table  # type: ignore[attr-defined]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
