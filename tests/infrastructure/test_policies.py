"""Every policy of the deployment and the deployer's, as cfn-lint reads them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.synth import ROOT
from tests.infrastructure.cfn_lint import lint
from tests.infrastructure.conftest import Deployment

DEPLOYER = ROOT / "docs" / "deployer-policy.json"


def describe(policies: Mapping[str, Any]) -> dict[str, Any]:
    """Describe policies as CloudFormation's resources."""
    resources: dict[str, Any] = {}
    for name, policy in policies.items():
        kind, key = (
            ("Role", "AssumeRolePolicyDocument") if name.endswith("trust") else ("ManagedPolicy", "PolicyDocument")
        )
        resources[name.replace("_", "")] = {"Type": f"AWS::IAM::{kind}", "Properties": {key: policy}}
    return resources


def test_no_policy_has_a_finding(deployed: Deployment, tmp_path: Path) -> None:
    state = json.loads(deployed.terraform.run("show", "-json").stdout)["values"]["root_module"]["resources"]
    documents = {
        item["name"]: json.loads(item["values"]["json"]) for item in state if item["type"] == "aws_iam_policy_document"
    }
    assert {
        "processing_lambda_document",
        "processing_schedule_role_trust",
        "feature_reader_document",
        "scaled_run_document",
    } <= set(documents)
    assert lint(describe({**documents, "deployer": json.loads(DEPLOYER.read_text())}), tmp_path) == []


def test_an_action_that_aws_does_not_have_would_be_found(tmp_path: Path) -> None:
    policy = DEPLOYER.read_text().replace("s3:GetObject", "s3:GetObjekt", 1)
    (found,) = lint(describe({"deployer": json.loads(policy)}), tmp_path)
    assert found.startswith("W3037")
