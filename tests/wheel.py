"""The project's wheel, built as a person would, from a copy that no build leaves traces in."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.builds import ROOT
from tests.harness import environment_without_python


def run(*command: str, folder: Path) -> str:
    """Run a command without the environment of the tests; return what it printed."""
    done = subprocess.run(
        command, cwd=folder, env=environment_without_python(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel in a folder; return its path."""
    for name in ("handler", "machine_features", "constructs"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder / "source")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "./source", folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel
