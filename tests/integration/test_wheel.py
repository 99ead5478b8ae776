"""The wheel in an empty environment: it reads a lake with what it brings, and nothing of the function's."""

import venv
from pathlib import Path

from tests.harness import Pipeline, at, line, write_raw
from tests.wheel import build_wheel, run

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


def test_wheel_reads_a_lake_in_an_empty_environment(tmp_path: Path) -> None:
    write_raw(tmp_path / "lake", at(0), "a.jsonl", [line("M1", at(0.5), vibration=3), line("M2", at(0.5), vibration=5)])
    Pipeline(tmp_path / "lake").run(at(2))
    venv.create(tmp_path / "empty", with_pip=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    wheel = build_wheel(tmp_path)
    run(python, "-m", "pip", "install", "--quiet", str(wheel), folder=tmp_path)
    command = str(tmp_path / "empty" / "bin" / "machine-features")
    trace = ("trace", "M1", "2025-10-15T01:00:00Z", "vibration_rms_mean_1h", "--lake", str(tmp_path / "lake"), "--json")
    assert '"status": "used"' in run(command, *trace, folder=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[pandas,report]", folder=tmp_path)
    printed = run(python, "-c", READ, (tmp_path / "lake").as_uri(), folder=tmp_path).splitlines()
    assert printed == ["[3.0, 5.0] 2 1 90", "[]"]
    assert run(command, "report", "--lake", (tmp_path / "lake").as_uri(), folder=tmp_path) == "report.html\n"
    assert "M2" in (tmp_path / "report.html").read_text()
