"""Real Terraform with the real AWS provider, on a working directory of a test's own."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIRROR_FINDER = ROOT.parent / "shared" / "tools" / "provider-mirror"
CONTRACT_TAGS = {"Project": "Enterprise Challenge - Reply", "Owner": "Fiap-RJ Team"}


@dataclass(frozen=True)
class Terraform:
    """One root module: where it is, and the environment its commands run in."""

    directory: Path
    environment: Mapping[str, str]

    def run(self, command: str, *arguments: str, exits: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            ["terraform", f"-chdir={self.directory}", command, "-no-color", *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert result.returncode in exits, f"terraform {command}\n{result.stdout}\n{result.stderr}"
        return result

    def init(self) -> None:
        self.run("init", "-input=false")

    def apply(self, *arguments: str) -> str:
        return self.run("apply", "-input=false", "-auto-approve", *arguments).stdout

    def destroy(self) -> str:
        return self.run("destroy", "-input=false", "-auto-approve").stdout

    def plan_changes(self, *arguments: str) -> str:
        """What a plan would change; empty where it changes nothing."""
        result = self.run("plan", "-input=false", "-detailed-exitcode", *arguments, exits=(0, 2))
        return result.stdout if result.returncode == 2 else ""

    def plan_attributes(self) -> dict[str, set[str]]:
        """Which attributes a plan would change, by the address of their resource; all of a new resource's."""
        self.run("plan", "-input=false", "-out=plan")
        document = json.loads(self.run("show", "-json", "plan").stdout)
        changes = {item["address"]: item["change"] for item in document["resource_changes"]}
        return {
            address: {
                name for name, value in (change["after"] or {}).items() if (change["before"] or {}).get(name) != value
            }
            for address, change in changes.items()
            if not {"no-op", "read"} & set(change["actions"])
        }

    def refuse(self, *arguments: str) -> str:
        """What Terraform says when it refuses to plan, as one line."""
        result = self.run("plan", "-input=false", *arguments, exits=(1,))
        return " ".join(result.stderr.replace("│", " ").split())

    def outputs(self) -> dict[str, Any]:
        document = json.loads(self.run("output", "-json").stdout)
        return {name: output["value"] for name, output in document.items()}


def require_terraform() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("there is no terraform on the PATH")


def terraform_environment(endpoint: str, folder: Path, **variables: str) -> dict[str, str]:
    """The environment of Terraform's commands: AWS is at ``endpoint``, and nothing of this machine's but its PATH."""
    settings = folder / "terraform.rc"
    settings.write_text(_provider_installation())
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{f"TF_VAR_{name}": value for name, value in variables.items()},
    }


def _provider_installation() -> str:
    """Where providers come from: a mirror on this machine if there is one, else as usual, kept between runs."""
    if MIRROR_FINDER.exists():
        found = subprocess.run([str(MIRROR_FINDER)], capture_output=True, text=True, check=False).stdout.strip()
        if found:
            return f'provider_installation {{\n  filesystem_mirror {{ path = "{found}" }}\n}}\n'
    cache = ROOT / ".tools" / "terraform-providers"
    cache.mkdir(parents=True, exist_ok=True)
    return f'plugin_cache_dir = "{cache}"\n'


def write_artifacts(folder: Path, content: str = "first") -> None:
    """Write a layer and a function's package that no one runs: small, and different where ``content`` is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pandas_layer", "processing_lambda"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("content.py"), f"CONTENT = {content!r}\n")


def lay_out_stack(project: Path) -> Path:
    """Lay out a project's folder as ``cdktf deploy`` does; return the stack's."""
    stack = project / "cdktf.out" / "stacks" / "processing"
    stack.mkdir(parents=True)
    shutil.copy(ROOT / "synth" / "stacks" / "processing" / "cdk.tf.json", stack)
    return stack
