"""Work out what a deployment costs, from the price list's units: ``make cost`` writes it into ``docs/deploy.md``."""

import math
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = Path("docs/deploy.md")
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
ALARMS: Final = 6
METRICS: Final = 25
LOG_BYTES_A_RUN: Final = 10_000

# Processor time, measured (docs/performance.md); a Lambda of 1,769 MB has one core, so memory buys a share of it.
SECONDS_A_MILLION_LINES: Final = {10_000: 0.4, 1_000_000: 1.7}  # by the largest fleet: many machines, many tiles
SECONDS_A_MACHINE: Final = 0.0007  # hours of the lookback read, rows of seven instants computed
SECONDS_AN_ITEM: Final = 0.0001
MB_A_CORE: Final = 1769
SECONDS_A_RUN: Final = 1.0  # start, planning, tiles, training files
TIMEOUT_SECONDS: Final = 900


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
    items = machines * math.ceil(ITEM_BYTES / 1024)
    return {
        "seconds": seconds,
        "Lambda": runs * (seconds * memory_mb / 1024 * GB_SECOND + INVOCATION),
        "Lambda, arm64": runs * (seconds * memory_mb / 1024 * GB_SECOND_ARM + INVOCATION),
        "S3 requests": runs * (reads * S3_READ + writes * S3_WRITE),
        "DynamoDB": runs * items * WRITE_UNIT + machines * ITEM_BYTES / 1e9 * TABLE_GB_MONTH,
        "CloudWatch": ALARMS * ALARM + METRICS * METRIC + DASHBOARD + runs * LOG_BYTES_A_RUN / 1e9 * LOG_GB,
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


def fill(page: str) -> str:
    """Put the table between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{write_table()}{END}{after}"


if __name__ == "__main__":
    (ROOT / PAGE).write_text(fill((ROOT / PAGE).read_text()))
    sys.stdout.write(write_table())
