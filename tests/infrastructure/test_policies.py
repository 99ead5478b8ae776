"""cfn-lint, in an environment of its own, over every policy: it knows AWS's actions, and what belongs together."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.synth import ROOT
from tests.infrastructure.conftest import Deployment
from tests.tools import find_tool

DEPLOYER = ROOT / "docs" / "deployer-policy.json"


def lint(policies: Mapping[str, Any], folder: Path) -> list[str]:
    """Put policies into a CloudFormation template, the form that cfn-lint reads; return what it finds."""
    resources: dict[str, Any] = {}
    for name, policy in policies.items():
        kind, key = (
            ("Role", "AssumeRolePolicyDocument") if name.endswith("trust") else ("ManagedPolicy", "PolicyDocument")
        )
        resources[name.replace("_", "")] = {"Type": f"AWS::IAM::{kind}", "Properties": {key: policy}}
    template = folder / "policies.json"
    template.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}))
    command = [
        str(find_tool("cfn-lint", "bin/cfn-lint")),
        "--format",
        "json",
        "--include-checks",
        "I",
        "--template",
        str(template),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"{found['Rule']['Id']} {found['Location']['Path']}" for found in json.loads(done.stdout or "[]")]


def test_no_policy_has_a_finding(deployed: Deployment, tmp_path: Path) -> None:
    state = json.loads(deployed.terraform.run("show", "-json").stdout)["values"]["root_module"]["resources"]
    documents = {
        item["name"]: json.loads(item["values"]["json"]) for item in state if item["type"] == "aws_iam_policy_document"
    }
    assert {"processing_lambda_document", "processing_schedule_role_trust", "feature_reader_document"} <= set(documents)
    assert lint({**documents, "deployer": json.loads(DEPLOYER.read_text())}, tmp_path) == []


def test_an_action_that_aws_does_not_have_would_be_found(tmp_path: Path) -> None:
    policy = DEPLOYER.read_text().replace("s3:GetObject", "s3:GetObjekt", 1)
    (found,) = lint({"deployer": json.loads(policy)}, tmp_path)
    assert found.startswith("W3037")
