"""Synthesize with CDK Terrain, cdktf's successor, and compare: ``make synth-cdktn``.

It rehearses the move in a copy of the project. There the names of the packages are changed in ``bindings.py``, the one
file that imports them, and ``main.py`` is run. It runs in the environment that has cdktn, and no cdktf.
"""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STACK = ROOT / "synth" / "stacks" / "processing" / "cdk.tf.json"
NAMES = {"cdktf_cdktf_provider_aws": "cdktn_provider_aws", "cdktf": "cdktn"}


def move_project(folder: Path) -> None:
    """Copy the program that makes the stack, with the packages' new names in it."""
    shutil.copytree(ROOT / "constructs", folder / "constructs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "main.py", folder)
    bindings = folder / "constructs" / "processing" / "bindings.py"
    pattern = "|".join(rf"\b{name}\b" for name in NAMES)
    bindings.write_text(re.sub(pattern, lambda match: NAMES[match[0]], bindings.read_text()))


def synthesize(folder: Path) -> dict[str, Any]:
    """Make the stack from a copy of the project in ``folder``."""
    move_project(folder)
    context = json.dumps(json.loads((ROOT / "cdktf.json").read_text())["context"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_VAR_")}
    for prefix in ("CDKTF", "CDKTN"):
        environment |= {f"{prefix}_OUTDIR": str(folder / "out"), f"{prefix}_CONTEXT_JSON": context}
    subprocess.run([sys.executable, "main.py"], cwd=folder, env=environment, check=True)
    (made,) = (folder / "out" / "stacks" / "processing").glob("*.tf.json")
    document: dict[str, Any] = json.loads(made.read_text())
    return document


def to_lines(document: dict[str, Any]) -> list[str]:
    """Write a stack line by line, without the version of what made it."""
    document["//"]["metadata"].pop("version")
    return json.dumps(document, indent=2, sort_keys=True).splitlines(keepends=True)


def main() -> int:
    """Run the command line."""
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(Path(folder))
    committed = json.loads(STACK.read_text())
    versions = [document["//"]["metadata"]["version"] for document in (committed, made)]
    difference = list(difflib.unified_diff(to_lines(committed), to_lines(made), "synth/ (cdktf)", "cdktn"))
    sys.stdout.writelines(difference)
    verdict = "differs" if difference else "is the same"
    sys.stdout.write(f"The stack of cdktn {versions[1]} {verdict} as that of cdktf {versions[0]}, versions aside.\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
