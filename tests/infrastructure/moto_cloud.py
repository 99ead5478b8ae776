"""An emulated AWS in a process of its own, with access control: ``python -m tests.infrastructure.moto_cloud``.

moto checks actions and resources of policies, with gaps that are filled here. It takes ``StringLike`` conditions
for fulfilled; IAM's documentation says that a key which the request does not carry fulfils none. It takes most calls
to be about ``*``, not about what they name. It calls some actions otherwise than IAM does. And where a
call has no body, it checks its signature with the parts of its path for one.
"""

import fnmatch
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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


_NAMES = {
    "dynamodb": {"TableName": "table/{}"},
    "glue": {"DatabaseName Name": "table/{}/{}", "DatabaseName": "database/{}", "Name": "database/{}"},
    "iam": {"RoleName": "role/{}", "PolicyName": "policy/{}"},
    "kms": {"KeyId": "{}"},
    "lambda": {"FunctionName": "function:{}"},
    "logs": {"logGroupName": "log-group:{}", "logGroupNamePrefix": "log-group:{}"},
    "monitoring": {"AlarmName": "alarm:{}", "AlarmNames.member.1": "alarm:{}", "DashboardName": "dashboard/{}",
                   "DashboardNames.member.1": "dashboard/{}"},
    "sqs": {"QueueName": "{}"},
    "states": {"name": "stateMachine:{}"},
}  # fmt: skip
"""How calls name what they are about, and how its ARN ends."""
_PATHS = {
    r"/layers/([^/:]+)/versions/(\d+)": "lambda:layer:{}:{}",
    r"/layers/([^/:]+)/versions": "lambda:layer:{}",
    r"/functions/([^/]+)": "lambda:function:{}",
    r"/schedules/([^/]+)": "scheduler:schedule/default/{}",
}
_UNKNOWN_CALLS: dict[str, dict[str, Any]] = {
    "validate_state_machine_definition": {"result": "OK", "diagnostics": []},
    "list_state_machine_versions": {"stateMachineVersions": []},
}
"""What Terraform's provider asks of Step Functions and moto does not know. ministack checks a definition."""
_IAMS_NAMES = {"monitoring": "cloudwatch", "s3:HeadBucket": "s3:ListBucket"}


def _find_resource(response: Any) -> str:
    """Say what a call is about, as an ARN; ``*`` for a call about nothing that has one."""
    service = response.headers["Authorization"].partition("Credential=")[2].split("/")[3]
    body = response.body if isinstance(response.body, dict) else response.body.strip()
    sent = dict(body) if isinstance(body, dict) else json.loads(body) if body[:1] in ("{", b"{") else {}
    sent |= {name: values[0] for name, values in response.data.items()}
    sent |= {"TableName": next(iter(sent["RequestItems"]))} if "RequestItems" in sent else {}
    sent |= {"DatabaseName": sent["DatabaseInput"]["Name"]} if "DatabaseInput" in sent else {}
    sent |= {"Name": sent["TableInput"]["Name"]} if "TableInput" in sent else {}
    sent |= {"QueueName": sent["QueueUrl"].rpartition("/")[2]} if "QueueUrl" in sent else {}
    place = "" if service == "iam" else response.region
    for names, ending in _NAMES.get(service, {}).items():
        if all(name in sent for name in names.split()):
            resource = ending.format(*(sent[name] for name in names.split()))
            place = "" if resource.startswith("dashboard/") else place
            return f"arn:aws:{_IAMS_NAMES.get(service, service)}:{place}:{response.current_account}:{resource}"
    for pattern, ending in _PATHS.items():
        if found := re.search(pattern, response.path):
            kind, _, resource = ending.format(*found.groups()).partition(":")
            return f"arn:aws:{kind}:{place}:{response.current_account}:{resource}"
    named = [unquote(response.uri), *(str(value) for name, value in sent.items() if name.lower().endswith("arn"))]
    found = re.search(rf"arn:aws:{_IAMS_NAMES.get(service, service)}:[^?]*", " ".join(named))
    return found[0].rstrip("/") if found else "*"


def _always(answer: dict[str, Any]) -> Callable[[Any], str]:
    """Make a method of moto's responses that gives one answer."""
    return lambda self: json.dumps(answer)


if __name__ == "__main__":
    import logging

    from moto.core.responses import BaseResponse
    from moto.iam import access_control
    from moto.iam.responses import IamResponse
    from moto.server import ThreadedMotoServer
    from moto.sqs.responses import SQSResponse
    from moto.stepfunctions.responses import StepFunctionResponse

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    access_control.IAMPolicyStatement._check_conditions = _check_conditions  # type: ignore[method-assign,assignment]
    for responses in (BaseResponse, IamResponse, SQSResponse):
        responses._determine_resource = _find_resource  # type: ignore[method-assign,union-attr]
    check_action, check_signature = (
        access_control.IAMRequestBase.check_action_permitted,
        access_control.IAMRequest.check_signature,
    )

    def _check_action(self: Any, resource: str) -> None:
        service, _, action = self._action.partition(":")
        self._action = _IAMS_NAMES.get(self._action, f"{_IAMS_NAMES.get(service, service)}:{action}")
        check_action(self, resource)

    def _check_signature(self: Any) -> None:
        if self._method != "POST":  # moto takes the parts of a path for a body
            self._data = {}
        check_signature(self)

    for call, answer in _UNKNOWN_CALLS.items():
        setattr(StepFunctionResponse, call, _always(answer))
    access_control.IAMRequestBase.check_action_permitted = _check_action  # type: ignore[method-assign]
    access_control.IAMRequest.check_signature = _check_signature  # type: ignore[method-assign]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
