"""An installer that fails ends in one line that says why and what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import attempt
from scripts.attempt import InstallError, find_reason, run

ROOT = Path(__file__).parents[3]
NO_NPM = """npm error code ECONNREFUSED
npm error syscall connect
npm error FetchError: request to http://127.0.0.1:9/cdktf-cli failed, reason: connect ECONNREFUSED 127.0.0.1:9
Traceback (most recent call last):
subprocess.CalledProcessError: Command 'npm' returned non-zero exit status 1.
"""
NO_PIP = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'
ERROR: Could not find a version that satisfies the requirement rich==15.0.0 (from versions: none)
ERROR: No matching distribution found for rich==15.0.0
"""


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (NO_NPM, "code ECONNREFUSED"),
        (NO_PIP, "No matching distribution found for rich==15.0.0"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "THESE PACKAGES DO NOT MATCH THE HASHES"),
        ("Traceback\n  File x\nFileNotFoundError: [Errno 2] no file\n", "FileNotFoundError: [Errno 2] no file"),
        ("disk full\n\n", "disk full"),
        ("", "it said nothing"),
    ],
)
def test_reason_is_found_in_what_an_installer_prints(output: str, reason: str) -> None:
    assert find_reason(output) == reason


@pytest.mark.parametrize("output", [NO_NPM, NO_PIP])
def test_registry_that_does_not_answer_is_told_apart(output: str) -> None:
    assert "its registry does not answer: see `pip config list`" in str(InstallError("a tool", output))


def test_failure_is_one_line_and_its_output_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attempt, "LOG", tmp_path / "tools" / "install.log")
    program = "import sys; print('ERROR: it is full'); sys.exit(3)"
    with pytest.raises(
        InstallError, match=r"^a tool could not be installed \(it is full\); the whole story is in "
    ) as e:
        run("a tool", [sys.executable, "-c", program])
    assert "\n" not in str(e.value)
    assert (tmp_path / "tools" / "install.log").read_text() == "ERROR: it is full\n"


def test_program_that_is_not_there_is_named() -> None:
    with pytest.raises(InstallError, match=r"\(there is no no-such-npm on the PATH\); install it; then run make again"):
        run("a tool", ["no-such-npm", "ci"])


def test_command_line_prints_no_traceback() -> None:
    command = [sys.executable, "-m", "scripts.attempt", "a tool", "no-such-npm"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("install: a tool could not be installed")
    assert result.stderr.count("\n") == 1


def test_success_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run("a tool", [sys.executable, "-c", "print('installing')"])
    assert capfd.readouterr() == ("", "")
