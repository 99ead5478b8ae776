"""The local run as a person starts it: what it prints, what it leaves, and one line for each mistake."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handler.definitions.timestamps import floor_to, parse_instant
from machine_features import FeatureStore
from tests.harness import HOUR, at, environment_without_python, line, write_raw

ROOT = Path(__file__).parents[2]


def local(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**environment_without_python(), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_simulated_run_shows_accounting_features_and_files(tmp_path: Path) -> None:
    done = local(tmp_path, "--machines", "3", "--hours", "13")
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "[17/17] ran as of 2025-10-15T13:00:00Z again" in out
    assert "[7/17] ran as of 2025-10-15T06:00:00Z on schedule" in out
    assert re.search(r"it reused every tile file \(13\) and read no line", out)
    for text in ("What each run did", "Newest features", "PUMP-A03", "zone", "local-lake/processed/training"):
        assert text in out
    assert re.search(r"PUMP-A03 .* D ", out)
    assert len(list((tmp_path / "local-lake/processed/training").rglob("*.parquet"))) == 13
    log = (tmp_path / "local-lake/function.log").read_text().splitlines()
    assert any(json.loads(text).get("message") == "run finished" for text in log)
    again = local(tmp_path, "--machines", "1", "--hours", "1", "--json")
    answers = json.loads(again.stdout)
    assert [answer["as_of"] for answer in answers] == ["2025-10-15T01:00:00Z"] * 2
    assert "What each run did" in again.stderr


def test_lake_of_ones_own_is_run_at_its_end_or_as_of_an_instant(tmp_path: Path) -> None:
    write_raw(tmp_path / "lake", at(8), "a.jsonl", [line("M1", at(8.5), vibration=5)])
    for arguments in ([], ["--as-of", "2025-10-15T09:02:00Z"]):
        done = local(tmp_path, "--lake", "lake", "--json", *arguments)
        answers = json.loads(done.stdout)
        assert [answer["as_of"] for answer in answers] == ["2025-10-15T09:00:00Z"] * 2
        assert answers[1]["tiles"] == {"built": 0, "reused": 1, "kept": 0}
    assert not (tmp_path / "local-lake").exists()


def test_lake_that_is_being_filled_is_run_as_of_now(tmp_path: Path) -> None:
    """The end of its newest hour has not happened."""
    now = datetime.now(UTC)
    write_raw(tmp_path / "lake", floor_to(now, HOUR), "a.jsonl", [line("M1", now - HOUR, vibration=5)])
    done = local(tmp_path, "--lake", "lake", "--json")
    assert done.returncode == 0, done.stderr
    (as_of,) = {answer["as_of"] for answer in json.loads(done.stdout)}
    assert abs(parse_instant(as_of) - now) < timedelta(minutes=6)


def test_features_that_were_forgotten_do_not_empty_the_training_set(tmp_path: Path) -> None:
    write_raw(tmp_path / "lake", at(8), "a.jsonl", [line("M1", at(8.5), level=5)])
    (tmp_path / "own.toml").write_text('windows = ["1h"]\n[[readings]]\nname = "level"\nplausible = [0, 9]\n')
    assert local(tmp_path, "--lake", "lake", "--features", "own.toml").returncode == 0
    forgotten = local(tmp_path, "--lake", "lake")
    assert forgotten.returncode == 2
    (error,) = forgotten.stderr.splitlines()
    assert re.fullmatch(
        "local: features.toml [0-9a-f]{64} would leave training hour 2025-10-15T09:00:00Z without rows that "
        "features.toml [0-9a-f]{64} has, first that of 'M1', since lines of raw/.*/a.jsonl are rejected as no_reading; "
        "give that features.toml, or accept_loss to write without them",
        error,
    )
    accepted = local(tmp_path, "--lake", "lake", "--accept-loss", "--json")
    assert (accepted.returncode, json.loads(accepted.stdout)[0]["training"]["rows"]) == (0, 0)


WRONG = 'windows = ["7m"]\n[[readings]]\nname = "rpm"\nplausible = [0, 9]\n'


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--lake", "nowhere"], {}, "--lake: there is no folder nowhere; give one that holds raw/"),
        (["--lake", "empty"], {}, "--lake: empty holds no telemetry; it should hold raw/year="),
        (["--lake", "full", "--as-of", "yesterday"], {}, "--as-of: 'yesterday' is not an instant such as 2025-"),
        (["--lake", "full", "--as-of", "2025-10-15T09:00:00"], {}, "write it so, with Z or an offset"),
        (
            ["--lake", "full", "--as-of", "8999-01-01T00:00:00Z"],
            {},
            "--as-of: '8999-01-01T00:00:00Z' lies in the future: ",
        ),
        (["--lake", "full", "--features", "wrong.toml"], {}, "wrong.toml: windows: '7m' is not a whole number"),
        (["--lake", "full", "--features", "none.toml"], {}, "none.toml: cannot be read"),
        (["--lake", "full"], {"TIME_WINDOW": "soon"}, "TIME_WINDOW: 'soon' will not do; set it to a whole number"),
        (["--lake", "full"], {"TIME_WINDOW": ""}, "TIME_WINDOW: is not set; set it to a whole number of hours"),
        (["--lake", "full"], {"LOG_LEVEL": "LOUD"}, "LOG_LEVEL: 'LOUD' will not do"),
        (["--machines", "0"], {}, "--machines and --hours must be 1 or more"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_raw(tmp_path / "full", at(8), "a.jsonl", [line("M1", at(8.5), vibration=5)])
    (tmp_path / "wrong.toml").write_text(WRONG)
    done = local(tmp_path, *arguments, **variables)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    errors = [text for text in done.stderr.splitlines() if not text.startswith(("usage:", " "))]
    assert len(errors) == 1


def test_folder_that_was_not_simulated_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "local-lake").mkdir()
    (tmp_path / "local-lake" / "precious").touch()
    done = local(tmp_path)
    assert done.returncode == 2
    assert "local-lake exists and was not simulated" in done.stderr
    assert (tmp_path / "local-lake" / "precious").exists()


def test_person_at_a_terminal_sees_a_progress_bar(tmp_path: Path) -> None:
    """Under a pseudo-terminal, as `script` gives one."""
    import pty

    code, terminal = 0, bytearray()
    child, master = pty.fork()
    if child == 0:  # pragma: no cover - the child becomes the command
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "local", "--machines", "2", "--hours", "7"])  # noqa: S606
    try:
        while True:
            terminal += os.read(master, 65536)
    except OSError:
        _, code = os.waitpid(child, 0)
    finally:
        os.close(master)
    text = terminal.decode(errors="replace")
    assert code == 0
    assert "━" in text
    assert re.search(r"\d+/10", text)
    assert "[10/10] ran" not in text


def test_items_are_kept_for_readers(tmp_path: Path) -> None:
    assert local(tmp_path, "--machines", "3", "--hours", "3", "--json").returncode == 0
    store = FeatureStore.open((tmp_path / "local-lake").as_uri())
    mean = "vibration_rms_mean_1h"
    times = store.training("2000-01-01T00:00:00Z", "9000-01-01T00:00:00Z").select("event_timestamp").collect()
    as_of = times.to_series().max()
    assert isinstance(as_of, datetime)
    found = store.online(["PUMP-A01", "PUMP-A99"], features=[mean], now=as_of)
    assert found.get_column("status").to_list() == ["present", "missing"]
    (row,) = store.training(as_of - timedelta(hours=1), as_of, features=[mean], machines=["PUMP-A01"]).collect().rows()
    assert found.get_column(mean)[0] == row[-1]
    assert store.parity(as_of).cells.is_empty()


def test_names_of_machines_are_no_markup_and_act_on_no_terminal(tmp_path: Path) -> None:
    names = ["[/foo]", "A[bold]B", "\x1b[31mRED"]
    lake = "lake [red]"
    write_raw(tmp_path / lake, at(8), "a.jsonl", [line(name, at(8.5), vibration=5) for name in names])
    done = local(tmp_path, "--lake", lake)
    assert done.returncode == 0, done.stderr
    assert all(
        text in done.stdout for text in ("[/foo]", "A[bold]B", "\\u001b[31mRED", "lake [red]/processed/training")
    )
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
