"""The page: a summary and a table in plain HTML, and the charts' data, compressed, for its script."""

import base64
import gzip
import html
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, Final

import orjson
import polars as pl
import vl_convert

from handler.definitions.spec import Reading
from handler.definitions.timestamps import HOUR, MICROSECOND, floor_to, format_instant
from machine_features.errors import ArgumentError
from machine_features.report.charts import draw_charts
from machine_features.report.collect import Findings, Windows, collect, is_ratio
from machine_features.store import FeatureStore
from machine_features.times import Instant, read_instant
from machine_features.visible import make_visible

_FOLDER: Final = Path(__file__).parent
_SHOWN_ROWS: Final = 25
"""Of the table, until a person asks for more."""

_MOST_MEANS: Final = 300_000
"""Window means of all machines together; beyond, only those of every few hours are in the page."""

_DIGITS: Final = 4
_ARRIVALS: Final = ".lt"
"""On time, late, too late."""

_SHOWN_DAYS: Final = timedelta(days=7)


def write_report(store: FeatureStore, to: Path, start: Instant | None = None, end: Instant | None = None) -> Findings:
    """Write a report of a lake.

    Parameters
    ----------
    store
        The lake.
    to
        The HTML file; one that is there is replaced.
    start
        The hours in ``(start, end]`` are shown. By default it is seven days before the end, or where rows begin.
    end
        By default the newest training hour.

    Returns
    -------
    Findings
        What the report shows.

    Raises
    ------
    LakeError
        If the store does not answer.
    ArgumentError
        If there are no training rows in the span.
    """
    hours = store.hours()
    if not hours:
        raise ArgumentError(f"{store.location} holds no training rows; run the function first")
    last = hours[-1] if end is None else read_instant(end)
    first = max(hours[0] - HOUR, last - _SHOWN_DAYS) if start is None else read_instant(start)
    if not any(first < hour <= last for hour in hours):
        there = f"they are from {format_instant(hours[0])} to {format_instant(hours[-1])}"
        raise ArgumentError(f"there are no training rows in ({format_instant(first)}, {format_instant(last)}]; {there}")
    findings = collect(store, floor_to(first, HOUR), last)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(render(findings), encoding="utf-8")
    return findings


def render(findings: Findings) -> str:
    """Write the page.

    Parameters
    ----------
    findings
        What it shows.

    Returns
    -------
    str
        HTML.
    """
    readings = findings.readings
    template = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    charts = draw_charts(findings.start, findings.end)
    data = {"charts": charts, "shown_rows": _SHOWN_ROWS, **_gather(findings, readings)}
    units = ", ".join(f"{each.name} in {each.unit or 'its own unit'}" for each in readings)
    return template.substitute(
        title=f"Machines as of {_write_time(findings.end)} UTC",
        span=f"{_write_time(findings.start)} to {_write_time(findings.end)}, all times UTC; {html.escape(units)}.",
        counts="".join(_list_counts(findings)),
        table=_write_table(findings, readings),
        clocks=_write_clocks(findings.clocks),
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        library=vl_convert.javascript_bundle(),  # type: ignore[call-arg] # its stub forgets the default
        data=base64.b64encode(gzip.compress(orjson.dumps(data), 9)).decode(),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def _list_counts(findings: Findings) -> Iterator[str]:
    machines, late = findings.machines, findings.blocks.filter(pl.col("arrival") > 0)
    bad = machines.filter(pl.col("zone").is_in(["C", "D"])).height
    silent = machines.filter(pl.col("silence") > findings.silent_after).height
    late_blocks = late.select("machine_id", "block").n_unique()
    if findings.has_zones:
        yield _write_count(f"{bad:,} of {findings.fleet:,}", "in zone C or D", is_bad=bad > 0)
    else:
        yield _write_count(f"{findings.fleet:,}", "machines", is_bad=False)
    failures = findings.failures.height
    yield _write_count(f"{failures:,}", "failure in view" if failures == 1 else "failures in view", is_bad=failures > 0)
    yield _write_count(f"{silent:,}", f"silent over {_write_length(findings.silent_after)}", is_bad=silent > 0)
    yield _write_count(f"{findings.rejected.get_column('lines').sum():,}", "lines rejected", is_bad=False)
    if findings.unreadable:
        yield _write_count(f"{findings.unreadable:,}", "objects unreadable", is_bad=True)
    yield _write_count(f"{late_blocks:,}", f"blocks of {_write_length(findings.block)} came late", is_bad=False)


def _write_count(number: str, meaning: str, *, is_bad: bool) -> str:
    return f'<div class="count{" bad" if is_bad else ""}"><b>{number}</b> <span>{html.escape(meaning)}</span></div>'


def _write_table(findings: Findings, readings: Sequence[Reading]) -> str:
    first, *others = readings
    shortest, steady, longest = Windows.of(findings.spec)
    heads = [
        "machine",
        *(["zone"] if findings.has_zones else []),
        f"{first.name}<br>{shortest} mean{_write_unit(first)}",
        f"its change<br>an hour, {steady}",
        "against own<br>baseline, fleet",
        *(f"{other.name}<br>{shortest} mean{_write_unit(other)}" for other in others),
        "last<br>reading",
        f"readings<br>in {longest}",
        "last failure",
    ]
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    rows = findings.machines.iter_rows(named=True)
    body = "\n".join(_write_row(n, row, findings, readings) for n, row in enumerate(rows))
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _write_row(number: int, row: Mapping[str, Any], findings: Findings, readings: Sequence[Reading]) -> str:
    first, *others = readings
    cells = [
        f'<th scope="row"><button type="button" data-machine="{number}">{_write_text(row["machine_id"])}</button></th>'
    ]
    if findings.has_zones:
        zone = row["zone"]
        cells.append(f'<td><span class="zone {zone or "none"}">{zone or "none"}</span></td>')
    cells += [
        f"<td>{_write_number(row[f'{first.name}_mean'])}</td>",
        f"<td>{_write_number(row[f'{first.name}_slope'], sign='+')}</td>",
        f"<td>{_write_excess(row[f'{first.name}_excess'], first)}</td>",
        *(f"<td>{_write_number(row[f'{other.name}_mean'])}</td>" for other in others),
    ]
    silence = row["silence"]
    is_silent = silence is None or silence > findings.silent_after
    text = "long ago" if silence is None else _write_length(silence)
    cells.append(f"<td{' class=bad' if is_silent else ''}>{text}</td>")
    coverage = row["coverage"]
    cells.append(f"<td>{'—' if coverage is None else f'{coverage:.0%}'}</td>")
    failed = row["failed_at"]
    code = "" if failed is None else f"{_write_text(row['codigo_evento'])}<br>{failed:%d %b %H:%M}"
    cells.append(f'<td class="text">{code}</td>')
    hidden = " hidden" if number >= _SHOWN_ROWS else ""
    return f"<tr{hidden}>{''.join(cells)}</tr>"


def _write_text(text: str) -> str:
    """Write a text of the lake: no part of it is markup, or changes the direction of what follows."""
    return html.escape(make_visible(text))


def _write_clocks(clocks: pl.DataFrame) -> str:
    if clocks.is_empty():
        return "<p>No line came too late or from the future.</p>"
    rows = "".join(
        f'<tr><th scope="row">{_write_text(name)}</th><td>{late:,}</td><td>{future:,}</td></tr>'
        for name, late, future in clocks.iter_rows()
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("machine", "lines too late", "lines from the future"))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _gather(findings: Findings, readings: Sequence[Reading]) -> dict[str, Any]:
    """Gather the charts' data: a machine after the other, and the fleet's."""
    hours = (findings.end - findings.start) // HOUR
    windows = findings.spec.windows
    means = findings.machines.height * len(readings) * len(windows) * hours
    every = max(1, -(-means // _MOST_MEANS))
    return {
        "start": _to_millis(findings.start),
        "end": _to_millis(findings.end),
        "block": findings.block / timedelta(milliseconds=1),
        "hours": hours,
        "every": every,
        "windows": [window.label for window in windows],
        "steady": [window.label for window in windows].index(Windows.of(findings.spec).steady),
        "readings": [
            {"name": each.name, "unit": each.unit, "zones": each.zone_boundaries, "is_ratio": is_ratio(each)}
            for each in readings
        ],
        "fleet": _gather_fleet(findings, readings, hours),
        "machines": _gather_machines(findings, readings, hours, every),
        "rejected": [[reason, _to_millis(hour), lines] for reason, hour, lines in findings.rejected.iter_rows()],
    }


def _gather_fleet(findings: Findings, readings: Sequence[Reading], hours: int) -> list[dict[str, Any]]:
    place = _place_hours(findings.quantiles, findings.start)
    return [
        {what: _spread(place, findings.quantiles.get_column(f"{reading.name}_{what}"), hours)
         for what in ("low", "median", "high")}
        for reading in readings
    ]  # fmt: skip


def _gather_machines(findings: Findings, readings: Sequence[Reading], hours: int, every: int) -> list[dict[str, Any]]:
    by_hour = findings.hours.partition_by("machine_id", as_dict=True)
    by_block = findings.blocks.partition_by("machine_id", as_dict=True)
    failures = findings.failures.partition_by("machine_id", as_dict=True)
    machines = []
    for row in findings.machines.iter_rows(named=True):
        key = (row["machine_id"],)
        rows, blocks = by_hour[key], by_block.get(key, findings.blocks.clear())
        place = _place_hours(rows, findings.start)
        failed = failures.get(key, findings.failures.clear())
        machines.append(
            {
                "id": make_visible(row["machine_id"]),
                "failures": [
                    [_to_millis(at), make_visible(code)]
                    for at, code in failed.select("event_timestamp", "codigo_evento").iter_rows()
                ],
                "arrivals": _write_arrivals(blocks),
                "readings": [
                    _gather_reading(reading, findings, rows, blocks, place, (hours, every)) for reading in readings
                ],
            }
        )
    return machines


def _gather_reading(
    reading: Reading,
    findings: Findings,
    rows: pl.DataFrame,
    blocks: pl.DataFrame,
    place: list[int],
    grid: tuple[int, int],
) -> dict[str, Any]:
    name, (hours, every) = reading.name, grid
    own = blocks.filter(pl.col("reading") == name, pl.col("mean").is_not_null())
    found: dict[str, Any] = {
        "block": own.get_column("block").to_list(),
        **{what: _round(own.get_column(what)) for what in ("low", "mean", "high")},
        "means": [
            _spread(place, rows.get_column(f"{name}_mean_{window.label}"), hours)[every - 1 :: every]
            for window in findings.spec.windows
        ],
        "baseline": _round(rows.get_column(f"{name}_baseline").head(1))[0],
    }
    if reading.zone_boundaries:
        zones = [" "] * hours
        for hour, zone in zip(place, rows.get_column(f"{name}_zone"), strict=True):
            zones[hour] = zone or " "
        found["zones"] = "".join(zones)
    return found


def _write_arrivals(blocks: pl.DataFrame) -> str:
    """Write a letter a block: of whether its readings came on time, late, too late, or not."""
    if blocks.is_empty():
        return ""
    worst = blocks.group_by("block").agg(pl.col("arrival").max())
    letters = [" "] * (int(worst.get_column("block").max()) + 1)  # type: ignore[arg-type] # blocks are integers
    for block, arrival in worst.iter_rows():
        letters[block] = _ARRIVALS[arrival]
    return "".join(letters)


def _place_hours(rows: pl.DataFrame, start: datetime) -> list[int]:
    """Count the hours of rows from the start: the first ends an hour after it."""
    since = (rows.get_column("event_timestamp") - start).dt.total_microseconds()
    return [each // (HOUR // MICROSECOND) - 1 for each in since]


def _spread(place: Sequence[int], values: pl.Series, hours: int) -> list[float | None]:
    """Put values at their hours; null where there is no value."""
    spread: list[float | None] = [None] * hours
    for hour, value in zip(place, _round(values), strict=True):
        spread[hour] = value
    return spread


def _round(values: pl.Series) -> list[float | None]:
    return values.cast(pl.Float64).round_sig_figs(_DIGITS).to_list()


def _to_millis(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _write_time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _write_unit(reading: Reading) -> str:
    return f", {html.escape(reading.unit)}" if reading.unit else ""


def _write_number(value: float | None, *, sign: str = "") -> str:
    return "—" if value is None else f"{value:{sign}.{_DIGITS}g}"


def _write_excess(value: float | None, reading: Reading) -> str:
    if value is None:
        return "—"
    return f"&times; {value:.2f}" if is_ratio(reading) else f"{value:+.3g}{html.escape(reading.unit)}"


def _write_length(length: timedelta) -> str:
    seconds = length.total_seconds()
    for size, unit, least in ((86_400, "d", 2 * 86_400), (3_600, "h", 2 * 3_600), (60, "min", 60), (1, "s", 0)):
        if seconds >= least:
            amount = seconds / size
            return (
                f"{amount:.0f} {unit}"
                if amount >= 10 or amount == int(amount) or unit in {"s", "min"}
                else f"{amount:.1f} {unit}"
            )
    return "now"
