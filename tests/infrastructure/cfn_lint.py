"""cfn-lint, in an environment of its own: it knows AWS's actions, its own languages, and what belongs together."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tools import find_tool


def lint(resources: Mapping[str, Any], folder: Path) -> list[str]:
    """Put resources into a CloudFormation template, the form that cfn-lint reads; return what it finds."""
    template = folder / "template.json"
    template.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": dict(resources)}))
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
