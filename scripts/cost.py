"""Work out what a deployment costs, from the price list's units: ``make cost`` writes it into the docs."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BEGIN: Final = "<!-- made by make cost -->\n"
END: Final = "<!-- end of what make cost made -->\n"

# US dollars in us-east-1, of AWS's public price lists as known in 2025; check them before you count on them.
GB_SECOND: Final = 0.0000166667
GB_SECOND_ARM: Final = 0.0000133334
INVOCATION: Final = 0.20e-6
S3_WRITE: Final = 0.005 / 1000  # PUT and LIST
S3_READ: Final = 0.0004 / 1000
WRITE_UNIT: Final = 0.625e-6
TABLE_GB_MONTH: Final = 0.25 + 0.20  # storage and point-in-time recovery
LOG_GB: Final = 0.50
STATE_TRANSITION: Final = 0.025 / 1000
ALARM: Final = 0.10
METRIC: Final = 0.30
DASHBOARD: Final = 3.00

DAYS: Final = 30.4
RUNS_A_DAY: Final = 4
HOURS_A_RUN: Final = 6
READINGS_AN_HOUR: Final = 2 * 360  # two sensors, one reading every 10 s, a line each
LINE_BYTES: Final = 240
PART_BYTES: Final = 2 * 2**20  # the range a large object is read by: handler/lake/objects.py
OBJECTS_AN_HOUR: Final = 60  # a writer that closes a file every minute
ITEM_BYTES: Final = 3300  # 94 attributes, by DynamoDB's rule: names, text, two digits a byte
UNITS_AN_ITEM: Final = math.ceil(ITEM_BYTES / 1024)
ALARM_METRICS: Final = 10  # of nine alarms: one watches two metrics, and each is billed
METRICS: Final = 17  # each reason by which lines are rejected is one more, while it occurs
LOG_BYTES_A_RUN: Final = 10_000

# Processor time, measured (docs/performance.md); a Lambda of 1,769 MB has one core, so memory buys a share of it.
SECONDS_A_MILLION_LINES: Final = {10_000: 0.4, 1_000_000: 1.7}  # by the largest fleet: many machines, many tiles
SECONDS_A_MACHINE: Final = 0.0007  # hours of the lookback read, rows of seven instants computed
SECONDS_AN_ITEM: Final = 0.0001
MB_A_CORE: Final = 1769
SECONDS_A_RUN: Final = 1.0  # start, planning, tiles, training files
TIMEOUT_SECONDS: Final = 900

# Of the stages of a scaled run: processor time and memory. Measured at 50,000 machines, with a reading of two sensors
# each ten seconds: 36 million lines an hour, in 33 parts (tests/benchmarks/test_scale.py).
MAP_SECONDS_A_MILLION_LINES: Final = 3.2
COMBINE_SECONDS_A_MILLION_LINES: Final = 0.79
COMBINE_MB_A_MACHINE: Final = 873 / 50_000
FINISH_SECONDS_A_ROW: Final = 0.4 / 50_000
SECONDS_A_STAGE: Final = 1.0  # start of a process, lists, waiting for the state machine
STAGE_MB: Final = 1769  # one core
RAW_PART_BYTES: Final = 256 * 2**20  # handler/pipeline/stages.py
SHARD_MACHINES: Final = 10_000
ROWS_A_BLOCK: Final = 20_000  # handler/plan.py
LAKE_MACHINES: Final = 50_000  # the largest lake that was measured
HISTORY_HOURS: Final = 30
CONCURRENCY: Final = 40
TRANSITIONS_A_STAGE: Final = 2
PARENT_TRANSITIONS: Final = 20
FILES_A_PART: Final = 5

# AWS's limits as documented in 2025; most are defaults that AWS raises when asked.
PAYLOAD_BYTES: Final = 262_144
HISTORY_EVENTS: Final = 25_000
ACCOUNT_CONCURRENCY: Final = 1_000
S3_READS_A_SECOND: Final = 5_500
TABLE_UNITS_A_SECOND: Final = 40_000
FUNCTION_MB: Final = 10_240


def estimate(machines: int, memory_mb: int) -> dict[str, float]:
    """Estimate one month's cost of a deployment.

    Parameters
    ----------
    machines
        How many send telemetry.
    memory_mb
        The function's memory, MB.

    Returns
    -------
    dict of str to float
        Seconds of one run, and US dollars a month by service.
    """
    runs = RUNS_A_DAY * DAYS
    lines = machines * READINGS_AN_HOUR * HOURS_A_RUN
    a_million_lines = next(seconds for most, seconds in SECONDS_A_MILLION_LINES.items() if machines <= most)
    work = lines / 1e6 * a_million_lines + machines * (SECONDS_A_MACHINE + SECONDS_AN_ITEM)
    seconds = SECONDS_A_RUN + work / min(memory_mb / MB_A_CORE, 1)
    objects = OBJECTS_AN_HOUR * HOURS_A_RUN
    parts = math.ceil(lines * LINE_BYTES / objects / PART_BYTES)  # of each: large objects are read in ranges
    reads = objects * parts + 2 * 30
    writes = 4 * HOURS_A_RUN + 2 * HOURS_A_RUN + 40  # four files a partition, training files, listings
    items = machines * UNITS_AN_ITEM
    return {
        "seconds": seconds,
        "Lambda": runs * (seconds * memory_mb / 1024 * GB_SECOND + INVOCATION),
        "Lambda, arm64": runs * (seconds * memory_mb / 1024 * GB_SECOND_ARM + INVOCATION),
        "S3 requests": runs * (reads * S3_READ + writes * S3_WRITE),
        "DynamoDB": runs * items * WRITE_UNIT + machines * ITEM_BYTES / 1e9 * TABLE_GB_MONTH,
        "CloudWatch": ALARM_METRICS * ALARM + METRICS * METRIC + DASHBOARD + runs * LOG_BYTES_A_RUN / 1e9 * LOG_GB,
    }


def write_table() -> str:
    """Write the estimates as Markdown."""
    services = ("Lambda", "S3 requests", "DynamoDB", "CloudWatch")
    lines = [
        f"| machines | lines a run | memory | one run | {' | '.join(services)} | a month |",
        "|---|---|---|---|" + "---|" * len(services) + "---|",
    ]
    for machines, memory in ((5, 1024), (1_000, 1024), (50_000, 3008)):
        costs = estimate(machines, memory)
        total = sum(costs[service] for service in services)
        fits = "" if costs["seconds"] < TIMEOUT_SECONDS else " (too long)"
        count = machines * READINGS_AN_HOUR * HOURS_A_RUN
        shown = " | ".join(f"${costs[service]:,.2f}" for service in services)
        lines.append(
            f"| {machines:,} | {count:,} | {memory:,} MB | {costs['seconds']:,.0f} s{fits} | {shown} | ${total:,.2f} |"
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of stage of a scaled run.

    Attributes
    ----------
    name
        Its name.
    count
        Invocations.
    seconds
        Of each, on one core.
    reads, writes
        Requests of each to S3.
    """

    name: str
    count: int
    seconds: float
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class ScaledRun:
    """One run of a lake in stages, six hours of raw lines.

    Attributes
    ----------
    machines
        Who sends into the lake.
    """

    machines: int

    @property
    def lines_an_hour(self) -> int:
        """Lines of one partition."""
        return self.machines * READINGS_AN_HOUR

    def list_stages(self) -> list[Stage]:
        """List the stages that are taken from lists, in their order."""
        parts = math.ceil(self.lines_an_hour * LINE_BYTES / RAW_PART_BYTES)
        part_lines = self.lines_an_hour / parts
        shards = math.ceil(self.machines / SHARD_MACHINES)
        machines = self.machines / shards
        hours = max(1, ROWS_A_BLOCK // math.ceil(machines))
        blocks = 1 + math.ceil(HOURS_A_RUN / hours)
        row = (SECONDS_A_MACHINE + SECONDS_AN_ITEM) / (1 + HOURS_A_RUN)
        ranges = math.ceil(part_lines * LINE_BYTES / PART_BYTES)
        is_cut = parts > 1
        mapping = part_lines / 1e6 * MAP_SECONDS_A_MILLION_LINES
        combining = self.lines_an_hour / 1e6 * COMBINE_SECONDS_A_MILLION_LINES
        return [
            Stage("map", HOURS_A_RUN * parts, mapping, ranges + 2, FILES_A_PART + 1),
            Stage("combine", HOURS_A_RUN * is_cut, combining, parts * FILES_A_PART, 5),
            Stage("reduce", shards * blocks, machines * hours * row, HISTORY_HOURS + 3, hours + 1),
            Stage("finish", HOURS_A_RUN * (shards > 1), self.machines * FINISH_SECONDS_A_ROW, shards + 2, 2),
        ]

    def measure_wall(self) -> float:
        """Work out the seconds from the schedule to the answer."""
        one_by_one = 3 * 2 * SECONDS_A_STAGE  # plan, divide, answer
        return one_by_one + sum(
            math.ceil(stage.count / CONCURRENCY) * (SECONDS_A_STAGE + stage.seconds) for stage in self.list_stages()
        )

    def price(self) -> dict[str, float]:
        """Work out US dollars of one run by service."""
        stages = [*self.list_stages(), Stage("plan, divide, answer", 3, SECONDS_A_STAGE, HISTORY_HOURS, 10)]
        invocations = sum(stage.count for stage in stages)
        seconds = sum(stage.count * (SECONDS_A_STAGE + stage.seconds) for stage in stages)
        requests = sum(stage.count * (stage.reads * S3_READ + stage.writes * S3_WRITE) for stage in stages)
        return {
            "Lambda": seconds * STAGE_MB / 1024 * GB_SECOND + invocations * INVOCATION,
            "S3 requests": requests + invocations * S3_READ,
            "Step Functions": (PARENT_TRANSITIONS + invocations * TRANSITIONS_A_STAGE) * STATE_TRANSITION,
            "DynamoDB": self.machines * UNITS_AN_ITEM * WRITE_UNIT,
        }


def write_scaled_tables() -> str:
    """Write what runs in stages take, and how near the limits they come, as Markdown."""
    lines = [
        "| machines | lakes | raw a run | map | combine | reduce | finish | time | requests to S3 | a run | a month |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for machines in (10_000, LAKE_MACHINES, 1_000_000):
        lakes = math.ceil(machines / LAKE_MACHINES)
        run = ScaledRun(machines // lakes)
        stages = run.list_stages()
        counts = " | ".join(
            f"{lakes * stage.count:,} of {stage.seconds:.1f} s" if stage.count else "none" for stage in stages
        )
        requests = lakes * sum(stage.count * (stage.reads + stage.writes + 1) for stage in stages)
        price = lakes * sum(run.price().values())
        raw = machines * READINGS_AN_HOUR * HOURS_A_RUN * LINE_BYTES / 1e9
        lines.append(
            f"| {machines:,} | {lakes} | {raw:,.0f} GB | {counts} | {run.measure_wall():.0f} s | {requests:,} "
            f"| ${price:,.2f} | ${price * RUNS_A_DAY * DAYS:,.0f} |"
        )
    return "\n".join(lines) + "\n\n" + _write_limits()


def _write_limits() -> str:
    lakes, run = 1_000_000 // LAKE_MACHINES, ScaledRun(LAKE_MACHINES)
    stages = {stage.name: stage for stage in run.list_stages()}
    mapping = stages["map"]
    reads = CONCURRENCY * mapping.reads / (SECONDS_A_STAGE + mapping.seconds)
    units = LAKE_MACHINES * UNITS_AN_ITEM
    side_by_side = lakes * CONCURRENCY
    largest = int(FUNCTION_MB / COMBINE_MB_A_MACHINE) // 10_000 * 10_000
    limits = [
        ("what a state hands on", f"{PAYLOAD_BYTES:,} bytes", "3,000: a day's hours and two ids"),
        ("events of an execution's history", f"{HISTORY_EVENTS:,}", "some 100; each child has its own, some 10"),
        ("invocations at a time, of an account", f"{ACCOUNT_CONCURRENCY:,}",
         f"{lakes} lakes of {CONCURRENCY}: {side_by_side}; a new account has fewer"),
        ("reads a second of one S3 prefix", f"{S3_READS_A_SECOND:,}",
         f"{reads:,.0f}, all maps of a lake in one hour's folder; above it S3 asks to slow down, and is asked again"),
        ("write units a second of one table", f"{TABLE_UNITS_A_SECOND:,}",
         f"{units:,} a run: {units / TABLE_UNITS_A_SECOND:.0f} s at the limit; a new table begins with a tenth of it"),
        ("seconds of one invocation", f"{TIMEOUT_SECONDS}", f"{stages['combine'].seconds:.0f}, a combine"),
        ("memory of one invocation", f"{FUNCTION_MB:,} MB",
         f"{COMBINE_MB_A_MACHINE * LAKE_MACHINES:.0f} MB, a combine; one lake of {largest:,} machines would reach it"),
    ]  # fmt: skip
    rows = [f"| {what} | {limit} | {used} |" for what, limit, used in limits]
    heading = f"| limit of AWS | how much | used, at 1,000,000 machines in {lakes} lakes |\n|---|--:|---|\n"
    return heading + "\n".join(rows) + "\n"


PAGES: Final[dict[Path, Callable[[], str]]] = {
    Path("docs/deploy.md"): write_table,
    Path("docs/scale.md"): write_scaled_tables,
}


def fill(page: Path) -> str:
    """Read a page and put today's tables between its marks."""
    before, rest = (ROOT / page).read_text().split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{PAGES[page]()}{END}{after}"


if __name__ == "__main__":
    for path, write in PAGES.items():
        (ROOT / path).write_text(fill(path))
        sys.stdout.write(write())
