"""The page docs/performance.md: the table, what it was measured on, and how near that comes to the machine's limits."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template

from tests.benchmarks.figures import HEADINGS, Figure

TEMPLATE = Path(__file__).with_name("performance.template.md")
_PACKAGES = ("polars", "obstore", "orjson", "boto3", "duckdb", "pandas", "numpy", "tsflex")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine can do with the same raw files, in MB (10⁶ bytes) a second.

    Attributes
    ----------
    disk, cache
        Reading them from the disk, and again from memory.
    polars, duckdb
        Parsing three fields of each line with Polars (simdjson) and DuckDB.
    orjson
        Parsing every line by itself, in one thread.
    handler
        The handler's whole way from these files to feature rows.
    """

    disk: float
    cache: float
    polars: float
    duckdb: float
    orjson: float
    handler: float

    def to_rows(self) -> list[tuple[str, str]]:
        """Write them as rows of a table."""
        return [
            ("reading the files from the disk (page cache dropped for them)", _format_rate(self.disk)),
            ("reading them again, from memory", _format_rate(self.cache)),
            ("`polars.read_ndjson`, four fields, explicit schema (simdjson, all cores)", _format_rate(self.polars)),
            ("DuckDB `read_json`, four fields, explicit schema (all cores)", _format_rate(self.duckdb)),
            ("`orjson.loads` line by line (one core)", _format_rate(self.orjson)),
            ("the handler: files to feature rows, tiles and quarantine written", _format_rate(self.handler)),
        ]


def _format_rate(value: float) -> str:
    return f"{value:,.0f} MB/s"


def write_report(page: Path, figures: Sequence[Figure], limits: Limits, *, lines: int, commit: str) -> None:
    """Write the page."""
    short = [figure.name for figure in figures if figure.verdict == "SHORT"]
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit,
        lines=f"{lines:,}",
        machine=_describe_machine(),
        versions=", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]),
        figures=_to_markdown([HEADINGS, *(figure.to_cells() for figure in figures)]),
        short="None." if not short else "\n".join(f"- {name}" for name in short),
        limits=_to_markdown([("what", "rate"), *limits.to_rows()]),
    )
    page.write_text(text, encoding="utf-8")


def lay_out(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the cells of a table for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _to_markdown(rows: Iterable[Sequence[str]]) -> str:
    heading, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([heading, "|" + "---|" * (heading.count(" | ") + 1), *rest])


def _describe_machine() -> str:
    model = _find_line(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    memory = _find_line(Path("/proc/meminfo"), "MemTotal")
    size = f", {int(memory.split()[0]) / 2**20:.0f} GiB of memory" if memory else ""
    return f"{model}, {len(os.sched_getaffinity(0))} cores{size}, {platform.system()}"


def _find_line(path: Path, name: str) -> str:
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""


def find_commit() -> str:
    """Name the commit that is measured, ``-dirty`` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=TEMPLATE.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
