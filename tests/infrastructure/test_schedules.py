"""Which schedules a plan takes: those whose runs write every training hour, by the hours between two runs.

The locals that Terraform expands a cron expression with are taken out of the module, and evaluated without a provider.
"""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from scripts.synth import MODULE, ROOT, read_document
from tests.harness import HOUR, Pipeline, at, line, write_raw
from tests.infrastructure.conftest import BUCKET, Deployment
from tests.infrastructure.schedules import measure_longest_gap
from tests.infrastructure.terraform import Terraform, require_terraform

EXPANDED = (
    "cron(0 9 * * ? *)", "cron(0 18,6 * * ? *)", "cron(0 8-20/4 * * ? *)", "cron(30 2,8,20 * * ? *)",
    "cron(0 */8 * * ? *)", "cron(0/20 3/6 * * ? *)", "cron(*/5 * * * ? *)", "cron(0 9 ? * MON-FRI *)",
    "cron(0 */12 ? * MON-FRI *)", "cron(0 6 ? * 1,4 *)", "cron(0 0 1 * ? *)", "cron(0 0 1,16 * ? *)",
    "cron(0 9 L * ? *)", "cron(0 9 LW * ? *)", "cron(0 9 15W * ? *)", "cron(0 9 1W * ? *)", "cron(0 9 ? * 6L *)",
    "cron(0 9 ? * MON#2 *)", "cron(0 9 ? * L *)", "cron(0 9 * JUN-AUG ? *)", "cron(0 9 */3 * ? *)",
    "cron(0 9 * * ? 2026/2)",
)  # fmt: skip
"""Each is compared with an expansion in Python."""

RATES = {"rate(6 hours)": 6.0, "rate(1 day)": 24.0, "rate(90 minutes)": 1.5, "rate(10 days)": 240.0}
WRONG = {
    "cron(0 25 * * ? *)": ["hours"],
    "cron(60 9 * * ? *)": ["minutes"],
    "cron(0 9 32 * ? *)": ["day-of-month"],
    "cron(0 9 * 13 ? *)": ["month"],
    "cron(0 9 ? * 8 *)": ["day-of-week"],
    "cron(0 9 ? * MOO *)": ["day-of-week"],
    "cron(0 9 ? * MON#6 *)": ["day-of-week"],
    "cron(0 9 * * ? 1969)": ["year"],
    "cron(0 */0 * * ? *)": ["hours"],
    "cron(? 9 * * ? *)": ["minutes"],
    "cron(0 9 1,? * ? *)": ["day-of-month"],
    "cron(0 9 W * ? L)": ["day-of-month", "year"],
}
NEVER = ("cron(0 9 30 2 ? *)", "cron(0 9 * * ? 2020)")


@pytest.fixture(scope="module")
def expanded(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    require_terraform()
    folder = tmp_path_factory.mktemp("schedules")
    module = read_document(ROOT / MODULE)
    name = "processing_schedule_expression"
    locals_ = {key: value for key, value in module["locals"].items() if key.startswith("cron_")}
    locals_["schedule_hours"] = module["locals"]["schedule_hours"]
    child = {
        "variable": {name: module["variable"][name]},
        "locals": locals_,
        "output": {"hours": {"value": "${local.schedule_hours}"}, "wrong": {"value": "${local.cron_wrong}"}},
    }
    root = {
        "module": {"each": {"source": "./child", "for_each": "${toset(local.all)}", name: "${each.key}"}},
        "locals": {"all": [*EXPANDED, *RATES, *WRONG, *NEVER]},
        "output": {"all": {"value": "${module.each}"}},
    }
    (folder / "child").mkdir()
    (folder / "child" / "main.tf.json").write_text(json.dumps(child))
    (folder / "main.tf.json").write_text(json.dumps(root))
    terraform = Terraform(folder, {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)})
    terraform.init()
    terraform.apply()
    found: Mapping[str, Mapping[str, Any]] = terraform.outputs()["all"]
    return found


@pytest.mark.parametrize("expression", EXPANDED)
def test_the_longest_time_between_two_runs(expanded: Mapping[str, Mapping[str, Any]], expression: str) -> None:
    first = date(2026 if "2026" in expression else 2024, 1, 1)
    assert expanded[expression]["hours"] == measure_longest_gap(expression, first=first, days=1461)
    assert expanded[expression]["wrong"] == []


def test_rates(expanded: Mapping[str, Mapping[str, Any]]) -> None:
    assert {expression: expanded[expression]["hours"] for expression in RATES} == RATES


def test_fields_that_scheduler_refuses_are_named(expanded: Mapping[str, Mapping[str, Any]]) -> None:
    assert {expression: expanded[expression]["wrong"] for expression in WRONG} == WRONG


def test_schedules_that_never_come_are_known(expanded: Mapping[str, Mapping[str, Any]]) -> None:
    assert [expanded[expression].get("hours") for expression in NEVER] == [None, None]


REFUSED: tuple[tuple[dict[str, str], str], ...] = (
    ({"processing_schedule_expression": "rate(12 hours)", "allowed_lateness_hours": "0"},
     "time_window_hours: rate(12 hours) leaves up to 12 hours between two runs, and a run writes the"),
    ({"processing_schedule_expression": "cron(0 */12 ? * MON-FRI *)", "time_window_hours": "24"},
     "leaves up to 60 hours between two runs, and a run writes the training rows of 48"),
    ({"processing_schedule_expression": "rate(10 days)"}, "Give at least 240 by both together, each 168 at most."),
    ({"processing_schedule_expression": "rate(20 days)"}, "No run can write so many: let it run more often."),
    ({"processing_schedule_expression": "cron(0 25 * * ? *)"}, "will not do. See its hours: minutes are 0-59"),
    ({"processing_schedule_expression": "cron(0 9 * * * *)"}, "must have a ? as day of the month or as day of the"),
    ({"processing_schedule_expression": "cron(0 9 ? * ? *)"}, "must have a ? as day of the month or as day of the"),
    ({"processing_schedule_expression": "cron(0 9 30 2 ? *)"}, "names no day that ever comes"),
    ({"processing_schedule_expression": "cron(0 9 * * ? *)", "schedule_timezone": "Mars"},
     "schedule_timezone: there is no time zone Mars."),
    ({"processing_schedule_expression": "cron(0 9 * * ? *)", "schedule_timezone": "Europe/Lisbon",
      "time_window_hours": "24", "allowed_lateness_hours": "0"}, "leaves up to 25 hours between two runs"),
    ({"processing_schedule_expression": "rate(1 day)", "raw_retention_hours": "24"},
     "raw_retention_hours: rate(1 day) leaves up to 24 hours between two runs"),
)  # fmt: skip
TAKEN: tuple[dict[str, str], ...] = (
    {"processing_schedule_expression": "rate(12 hours)"},
    {"processing_schedule_expression": "rate(1 day)"},
    {"processing_schedule_expression": "cron(0 18,6 * * ? *)", "time_window_hours": "12",
     "allowed_lateness_hours": "0"},
    {"processing_schedule_expression": "cron(0 8-20/4 * * ? *)"},
    {"processing_schedule_expression": "cron(0 9 ? * MON-FRI *)", "time_window_hours": "48"},
    {"processing_schedule_expression": "cron(0 9 * * ? *)", "schedule_timezone": "America/Sao_Paulo",
     "time_window_hours": "24", "allowed_lateness_hours": "0"},
)  # fmt: skip


def write_deployments(cases: tuple[dict[str, str], ...]) -> str:
    """Write a root module with one deployment for each case."""
    return json.dumps({
        "module": {
            f"case{n}": {
                "source": f"{ROOT}/modules/processing",
                "project_name": f"case{n}",
                "s3_bucket_name": BUCKET,
                "pandas_layer_zip_path": "./lambda_artifacts/pandas_layer.zip",
                "lambda_source_path": "./lambda_artifacts/processing_lambda.zip",
                **case,
            }
            for n, case in enumerate(cases)
        }
    })  # fmt: skip


def test_schedules_are_refused_or_taken_by_what_their_runs_write(deployed: Deployment, tmp_path: Path) -> None:
    from tests.infrastructure.test_surprises import make_root

    terraform = make_root(deployed.cloud, tmp_path, "")
    targets = [f"-target=module.case{n}.aws_scheduler_schedule.processing_schedule" for n in range(len(REFUSED))]
    (tmp_path / "main.tf.json").write_text(write_deployments(tuple(case for case, _ in REFUSED)))
    terraform.init()
    said = terraform.refuse("-refresh=false", *targets)
    for _, sentence in REFUSED:
        assert sentence in said
    (tmp_path / "main.tf.json").write_text(write_deployments(TAKEN))
    terraform.run("plan", "-input=false", "-refresh=false", *targets[: len(TAKEN)])


@pytest.mark.parametrize(("gap", "lateness", "lost"), [(12, 24, 0), (12, 6, 0), (12, 0, 6), (14, 7, 1)])
def test_a_run_writes_the_hours_of_its_span_and_of_the_allowed_lateness(
    tmp_path: Path, gap: int, lateness: int, lost: int
) -> None:
    """The rule of the plan is what runs do: windows of 6 hours, and so many hours between two runs."""
    for hour in range(gap + 6):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour, minutes=5), temperature=60.0)])
    pipeline = Pipeline(tmp_path, time_window=6 * HOUR, allowed_lateness=lateness * HOUR)
    for end in (6, 6 + gap):
        pipeline.run(at(end))
    written = {int(path.parent.name[-2:]) for path in tmp_path.rglob("features.parquet")}
    missing = set(range(1, 6 + gap + 1)) - written
    assert missing == set(range(7, 7 + lost))
