"""checkov, in an environment of its own, over the synthesized stack."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from scripts.synth import ROOT, STACK
from tests.tools import find_tool


def run_checkov(stack: Path) -> dict[str, Any]:
    command = [
        str(find_tool("checkov", "bin/checkov")),
        "--config-file",
        str(ROOT / ".checkov.yaml"),
        "--file",
        str(stack),
        "--output",
        "json",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(stack.parent), "LOG_LEVEL": "CRITICAL"}
    result = subprocess.run(command, env=environment, cwd=stack.parent, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_every_check_passes_or_is_skipped_with_its_reason(tmp_path: Path) -> None:
    shutil.copy(ROOT / STACK, tmp_path)
    report = run_checkov(tmp_path / STACK.name)
    assert report["summary"]["parsing_errors"] == 0
    assert [check["check_id"] for check in report["results"]["failed_checks"]] == []
    assert report["summary"]["passed"] >= 65  # three policies became statements of two others, with 21 checks


def test_an_open_queue_would_be_found(tmp_path: Path) -> None:
    """The check can fail: without encryption and a log group kept for long, checkov says so."""
    stack = json.loads((ROOT / STACK).read_text())
    queue = stack["resource"]["aws_sqs_queue"]["failed_events"]
    del queue["sqs_managed_sse_enabled"], queue["kms_master_key_id"]
    (tmp_path / "cdk.tf.json").write_text(json.dumps(stack, indent=2))
    failed = run_checkov(tmp_path / "cdk.tf.json")["results"]["failed_checks"]
    assert [check["check_id"] for check in failed] == ["CKV_AWS_27"]
