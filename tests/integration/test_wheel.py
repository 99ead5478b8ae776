"""The wheel in an empty environment: it reads a lake with what it brings, and nothing of the function's."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.harness import Pipeline, at, environment_without_python, line, write_raw
from tests.measured import ROOT

READ = """
import sys
from machine_features import FeatureStore, to_pandas
store = FeatureStore.open(sys.argv[1])
rows = store.training("2025-10-15T00:00:00Z", "2025-10-15T02:00:00Z", features=["vibration_rms_mean_1h"])
frame = to_pandas(rows)
known = store.training("2025-10-15T00:00:00Z", "2025-10-15T02:00:00Z", knowledge="as_of").collect()
lines = store.trace("M1", "2025-10-15T01:00:00Z", "vibration_rms_mean_1h")
print(frame["vibration_rms_mean_1h"].tolist(), known.height, lines.height, len(store.features()))
others = ("awscrt", "aws_lambda_powertools", "cdktf", "moto", "handler.stores.dynamodb")
print([name for name in others if name in sys.modules])
"""


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment_without_python(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_wheel_reads_a_lake_in_an_empty_environment(tmp_path: Path) -> None:
    write_raw(tmp_path / "lake", at(0), "a.jsonl", [line("M1", at(0.5), vibration=3), line("M2", at(0.5), vibration=5)])
    Pipeline(tmp_path / "lake").run(at(2))
    venv.create(tmp_path / "empty", with_pip=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    for name in ("handler", "machine_features"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "source")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), "./source", folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[pandas,report]", folder=tmp_path)
    printed = run(python, "-c", READ, (tmp_path / "lake").as_uri(), folder=tmp_path).splitlines()
    assert printed == ["[3.0, 5.0, nan, nan] 4 1 90", "[]"]
    command = str(tmp_path / "empty" / "bin" / "machine-features")
    assert run(command, "report", "--lake", (tmp_path / "lake").as_uri(), folder=tmp_path) == "report.html\n"
    assert "M2" in (tmp_path / "report.html").read_text()
