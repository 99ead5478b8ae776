"""Lock what the project installs, by hash and without naming a registry: ``make lock``.

``Pipfile.lock`` holds the project's packages; ``scripts/pipenv.txt`` the pipenv that installs them. Where packages
come from is pip's own configuration on each machine, so neither file says it.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "Pipfile.lock"
BOOTSTRAP = ROOT / "scripts" / "pipenv.txt"
CATEGORIES = "packages layer dev-packages benchmarks"


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


def lock_pipenv(python: str, version: str) -> None:
    """Resolve one release of pipenv with all it needs."""
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = subprocess.run([*command, f"pipenv=={version}"], check=True, capture_output=True, text=True)  # noqa: S603
    lines = [f"# pipenv {version} and what it needs; made by `make lock`"]
    for item in sorted(json.loads(report.stdout)["install"], key=lambda item: str(item["metadata"]["name"])):
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{item['metadata']['name']}=={item['metadata']['version']} --hash=sha256:{digest}")
    BOOTSTRAP.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    lock_pipenv(sys.executable, sys.argv[2])
    lock_packages(sys.argv[1])
