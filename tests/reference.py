"""The pipeline's definitions once more, in plain Python with exact numbers: no tiles, no frames, nothing shared.

Slow and simple on purpose. Doubles are integers over a power of two, so sums of powers of them are exact; only the
last step of each statistic rounds.
"""

import gzip
import json
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

HOUR = timedelta(hours=1)
TILE = timedelta(minutes=5)
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(hours=24)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

READINGS = {"temperature_celsius": (-60.0, 400.0), "vibration_rms": (0.0, 200.0)}
WINDOWS = {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY}
PAIRS = (("temperature_celsius", "vibration_rms"),)
ZONES = {"vibration_rms": (2.3, 4.5, 7.1)}
REQUIRED = ("machine_id", "timestamp_utc", "codigo_evento")
IGNORED = ("ingestion_timestamp", "sensor_type", "mqtt_topic")

Value = int | float | str | None


@dataclass
class Reading:
    """One accepted reading."""

    machine: str
    name: str
    time: datetime
    value: float
    lateness: timedelta


@dataclass
class Account:
    """What became of the lines of a lake."""

    lines: int = 0
    accepted: int = 0
    failures: int = 0
    duplicates: int = 0
    unreadable: int = 0
    skipped: int = 0
    objects: int = 0
    unknown_fields: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    readings: list[Reading] = field(default_factory=list)
    late: int = 0
    too_late: int = 0


def read_lake(
    root: Path,
    ranges: Mapping[str, tuple[float, float]] = READINGS,
    allowed: timedelta = DAY,
    fields: Mapping[str, str] = {},
    microseconds: int | None = None,
) -> Account:
    """Classify every line of a lake folder.

    ``fields`` maps names of the contract to a line's own; with ``microseconds`` event times are numbers of so many.
    """
    account = Account()
    for folder in sorted((root / "raw").glob("year=*/month=*/day=*/hour=*")):
        hour = datetime.strptime(
            "".join(re.findall(r"=(\d+)", folder.relative_to(root).as_posix())) + "+0000", "%Y%m%d%H%z"
        )
        seen: set[Any] = set()
        for path in sorted(folder.iterdir()):
            if not re.fullmatch(r"[^._].*\.(jsonl|ndjson|json)(\.gz)?", path.name):
                account.skipped += 1
                continue
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                try:
                    data = gzip.decompress(data)
                except (OSError, EOFError, zlib.error):
                    data = b"\x1f\x8b"
            elif path.name.endswith(".gz") and data:
                data = b"\x1f\x8b"
            if data[:2] == b"\x1f\x8b":
                account.unreadable += 1
                continue
            account.objects += 1
            for raw in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
                for part in split_line(raw) if raw.strip(b" \t\r") else ():
                    account.lines += 1
                    _classify(part, hour, account, ranges, seen, allowed, fields, microseconds)
    return account


def split_line(raw: bytes) -> list[bytes]:
    """Split a line into the JSON objects that it begins with, and what begins like one more."""
    text, parts, start = raw.decode("utf-8", "surrogateescape"), [], 0
    while True:
        try:
            begin = start + len(text[start:]) - len(text[start:].lstrip(" \t\r"))
            value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, begin)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            break
        following = end + len(text[end:]) - len(text[end:].lstrip(" \t\r"))
        if not isinstance(value, dict) or text[following : following + 1] != "{":
            break
        parts.append(text[start:end])
        start = following
    return [part.encode("utf-8", "surrogateescape") for part in [*parts, text[start:]]]


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _classify(
    raw: bytes,
    hour: datetime,
    account: Account,
    ranges: Mapping[str, tuple[float, float]],
    seen: set[Any],
    allowed: timedelta,
    fields: Mapping[str, str],
    microseconds: int | None,
) -> None:
    try:
        line = json.loads(raw.decode("utf-8"), parse_constant=_refuse)
        json.dumps(line, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        account.rejected["not_json"] += 1
        return
    if not isinstance(line, dict):
        account.rejected["not_object"] += 1
        return
    names = {name: fields.get(name, name) for name in (*REQUIRED, *ranges)}
    account.unknown_fields += sum(
        type(value) in (int, float) for name, value in line.items() if name not in {*IGNORED, *names.values()}
    )
    line = {name: _look_up(line, own.split(".")) for name, own in names.items()}
    if microseconds is not None and line["timestamp_utc"] is not None:
        line["timestamp_utc"] = _write_epoch(line["timestamp_utc"], microseconds)
    code = line["codigo_evento"]
    if type(code) is float and math.isfinite(code) and abs(code) >= 2**53:
        path = names["codigo_evento"].split(".")
        code = Fraction(_look_up(json.loads(raw.decode(), parse_int=str, parse_float=str), path))
    codigo = _read_code(code)
    is_failure = codigo is not None
    present = {name: line[name] for name in ranges if line.get(name) is not None}
    reason = _find_reason(line, is_failure, present, ranges, hour)
    if reason is not None:
        account.rejected[reason] += 1
        return
    machine, time = line["machine_id"], read_time(line["timestamp_utc"])
    assert time is not None
    key = (machine, time, codigo if is_failure else tuple(sorted((k, float(v)) for k, v in present.items())))
    if key in seen:
        account.duplicates += 1
        return
    seen.add(key)
    if is_failure:
        account.failures += 1
        return
    account.accepted += 1
    lateness = hour - time.replace(minute=0, second=0, microsecond=0)
    account.late += timedelta(0) < lateness <= allowed
    account.too_late += lateness > allowed
    account.readings += [Reading(machine, name, time, float(value), lateness) for name, value in present.items()]


def _look_up(line: object, path: Sequence[str]) -> Any:
    for name in path:
        line = line.get(name) if isinstance(line, dict) else None
    return line


def _write_epoch(value: object, microseconds: int) -> str:
    """Write a count of units since 1970 as a text that is an instant, or is none."""
    if not _is_number(value) or value < 0:  # type: ignore[operator]
        return "no instant"
    try:
        return (EPOCH + int(Fraction(str(value)) * microseconds) * MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return "no instant"


def _find_reason(
    line: Mapping[str, Any],
    is_failure: bool,
    present: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
    hour: datetime,
) -> str | None:
    machine, stamp = line.get("machine_id"), line.get("timestamp_utc")
    if not isinstance(machine, str) or not 1 <= len(machine) <= 256:
        return "missing_machine_id"
    if stamp is None:
        return "missing_timestamp"
    time = read_time(stamp)
    if time is None:
        return "bad_timestamp"
    if line.get("codigo_evento") is not None and not is_failure:
        return "bad_failure_code"
    if not is_failure:
        if not present:
            return "no_reading"
        if not all(_is_number(value) for value in present.values()):
            return "not_a_number"
        if not all(ranges[name][0] <= value <= ranges[name][1] for name, value in present.items()):
            return "out_of_range"
    if time > hour + HOUR + timedelta(minutes=15):
        return "from_the_future"
    return None


def _read_code(value: object) -> str | None:
    if isinstance(value, str) and 1 <= len(value) <= 256:
        return value
    if type(value) is int or (isinstance(value, float | Fraction) and value == value // 1):
        return _read_code(str(int(value)))
    return None


def _is_number(value: object) -> bool:
    if type(value) not in (int, float):
        return False
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except OverflowError:
        return False


def read_time(text: object) -> datetime | None:
    """Read an instant; None where it is none."""
    pattern = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)"
    match = re.fullmatch(pattern, text, re.ASCII) if isinstance(text, str) else None
    if match is None or int(match[9] or 0) > 23 or int(match[10] or 0) > 59 or text[-1] == ":":  # type: ignore[index]
        return None
    micros = int((match[7] or "0")[:6].ljust(6, "0"))
    east = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
        time = datetime(year, month, day, hour, minute, second, micros, UTC) - east
    except (ValueError, OverflowError):
        return None
    return time if time >= EPOCH else None


def compute_rows(
    readings: Iterable[Reading],
    as_of: datetime,
    *,
    names: Sequence[str] = tuple(READINGS),
    windows: Mapping[str, timedelta] = WINDOWS,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    zones: Mapping[str, tuple[float, float, float]] = ZONES,
    allowed: timedelta = DAY,
    cadences: Mapping[str, timedelta] = {},
) -> dict[str, dict[str, Value]]:
    """Compute every feature of every machine at one instant: ``{machine: {feature: value}}``."""
    series: dict[tuple[str, str], list[tuple[datetime, float]]] = defaultdict(list)
    for reading in readings:
        if reading.lateness <= allowed and as_of - max(DAY, *windows.values()) <= reading.time < as_of:
            series[reading.machine, reading.name].append((reading.time, reading.value))
    machines = {machine for (machine, _), points in series.items() if any(t >= as_of - DAY for t, _ in points)}
    rows: dict[str, dict[str, Value]] = {}
    for machine in sorted(machines):
        row: dict[str, Value] = {}
        for name in names:
            points = sorted(series.get((machine, name), []))
            recent = [t for t, _ in points if t >= as_of - DAY]
            row[f"{name}_staleness_seconds"] = (as_of - recent[-1]).total_seconds() if recent else None
            for label, length in windows.items():
                inside = [(t, v) for t, v in points if t >= as_of - length]
                for stat, value in compute_statistics(inside).items():
                    row[f"{name}_{stat}_{label}"] = value
                tiles = {(t - EPOCH) // TILE for t, _ in inside}
                row[f"{name}_coverage_{label}"] = min(1.0, len(tiles) / (length / cadences.get(name, TILE)))
            if name in zones:
                hour = [Fraction(v) for t, v in points if t >= as_of - HOUR]
                row[f"{name}_zone"] = _zone(sum(hour, Fraction(0)) / len(hour), zones[name]) if hour else None
        for a, b in pairs:
            for label, length in windows.items():
                row[f"{a}_{b}_corr_{label}"] = _correlate(
                    *([p for p in series.get((machine, name), []) if p[0] >= as_of - length] for name in (a, b))
                )
        rows[machine] = row
    return rows


def compute_statistics(points: Sequence[tuple[datetime, float]]) -> dict[str, Value]:
    """Compute the statistics of readings in time order, from exact sums."""
    none: dict[str, Value] = dict.fromkeys(
        ["mean", "min", "max", "range", "std", "first", "last", "rms", "crest_factor", "skew", "kurtosis"]
    )
    if not points:
        return {"count": 0, **none, "slope_per_hour": None}
    n = len(points)
    values = [v for _, v in points]
    low, high, peak = min(values), max(values), max(map(abs, values))
    ints, unit = _to_integers(values)
    s1, s2, s3, s4 = (sum(v**p for v in ints) for p in (1, 2, 3, 4))
    mean = Fraction(s1, n)
    m2 = s2 - n * mean**2
    m3 = s3 - 3 * mean * s2 + 3 * mean**2 * s1 - n * mean**3
    m4 = s4 - 4 * mean * s3 + 6 * mean**2 * s2 - 4 * mean**3 * s1 + n * mean**4
    rms = _sqrt(Fraction(s2, n) * unit**2)
    stats: dict[str, Value] = {
        "count": n,
        "mean": float(mean * unit),
        "min": low,
        "max": high,
        "range": high - low,
        "std": _sqrt(m2 * unit**2 / (n - 1)) if n > 1 else None,
        "first": max(v for t, v in points if t == points[0][0]),
        "last": max(v for t, v in points if t == points[-1][0]),
        "rms": rms,
        "crest_factor": _sqrt(Fraction(peak) ** 2 / (Fraction(s2, n) * unit**2)) if s2 else None,
        "skew": _signed(_sqrt((m3 / n) ** 2 / (m2 / n) ** 3), m3) if high > low else None,
        "kurtosis": float((m4 / n) / (m2 / n) ** 2 - 3) if high > low else None,
    }
    times = [(t - points[0][0]) // MICROSECOND for t, _ in points]
    st, stt = sum(times), sum(t * t for t in times)
    stv = sum(t * v for t, v in zip(times, ints, strict=True))
    spread = n * stt - st * st
    stats["slope_per_hour"] = None
    if spread:
        slope = Fraction(n * stv - st * s1, spread) * unit * 3_600_000_000
        scale = _sqrt(m2 * n * unit**2 / spread) * 3.6e9
        stats["slope_per_hour"] = Conditioned(float(slope), scale)
    return stats


class Conditioned(float):
    """A result that may be off by a rounding of its own scale, though it is near zero itself."""

    def __new__(cls, value: float, scale: float) -> Self:
        number = super().__new__(cls, value)
        number.scale = scale
        return number

    scale: float


def _correlate(a: Sequence[tuple[datetime, float]], b: Sequence[tuple[datetime, float]]) -> float | None:
    means_a, means_b = _tile_means(a), _tile_means(b)
    both = sorted(means_a.keys() & means_b.keys())
    n = len(both)
    if n < 3:
        return None
    x, y = [means_a[t] for t in both], [means_b[t] for t in both]
    sxx = n * sum(v * v for v in x) - sum(x) ** 2
    syy = n * sum(v * v for v in y) - sum(y) ** 2
    sxy = n * sum(p * q for p, q in zip(x, y, strict=True)) - sum(x) * sum(y)
    if not sxx or not syy:
        return None
    if any(
        spread < Fraction(1, 10**18) * (Fraction(max(values)) - Fraction(min(values))) ** 2
        for spread, values in ((sxx / n**2, [v for _, v in a]), (syy / n**2, [v for _, v in b]))
    ):
        return math.nan
    return _signed(_sqrt(Fraction(sxy * sxy) / (sxx * syy)), sxy)


def _tile_means(points: Iterable[tuple[datetime, float]]) -> dict[int, Fraction]:
    tiles: dict[int, list[Fraction]] = defaultdict(list)
    for time, value in points:
        tiles[(time - EPOCH) // TILE].append(Fraction(value))
    return {tile: sum(values, Fraction(0)) / len(values) for tile, values in tiles.items()}


def _zone(mean: Fraction, boundaries: Sequence[float]) -> str:
    return "ABCD"[sum(mean - Fraction(b) > abs(Fraction(b)) / 10**9 for b in boundaries)]


def _to_integers(values: Sequence[float]) -> tuple[list[int], Fraction]:
    """Write doubles as integers times one power of two."""
    ratios = [value.as_integer_ratio() for value in values]
    scale = max(denominator for _, denominator in ratios)
    return [numerator * (scale // denominator) for numerator, denominator in ratios], Fraction(1, scale)


def _signed(size: float, sign: Fraction | int) -> float:
    return -size if sign < 0 else size


def _sqrt(value: Fraction) -> float:
    """Take a square root, rounded once: of an integer of at least 128 bits."""
    if value == 0:
        return 0.0
    shift = max(0, 256 - value.numerator.bit_length() + value.denominator.bit_length())
    shift += shift % 2
    root = math.isqrt((value.numerator << shift) // value.denominator)
    return float(Fraction(root, 1 << (shift // 2)))


TOLERANCES: Mapping[str, float] = dict.fromkeys(("skew", "kurtosis", "slope_per_hour", "corr"), 1e-6)


def compare_rows(actual: Mapping[str, Mapping[str, Value]], expected: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """List the differences beyond the tolerances: relative 1e-9 or 1e-6, absolute 1e-9 near zero.

    An expected NaN says that no double can tell: a correlation of tile means that differ by rounding only.
    """
    problems = []
    if list(actual) != list(expected):
        problems.append(f"machines {list(actual)} instead of {list(expected)}")
    for machine in actual.keys() & expected.keys():
        for name in sorted(actual[machine].keys() | expected[machine].keys()):
            got, want = actual[machine].get(name, "absent"), expected[machine].get(name, "absent")
            if isinstance(want, float) and math.isnan(want):
                continue
            if isinstance(got, int | float) and isinstance(want, int | float):
                relative = next((tol for stat, tol in TOLERANCES.items() if f"_{stat}_" in name), 1e-9)
                absolute = 1e-9 if relative > 1e-9 else 1e-12
                if isinstance(want, Conditioned):
                    absolute = max(absolute, 1e-13 * want.scale)
                if math.isclose(got, want, rel_tol=relative, abs_tol=absolute):
                    continue
            elif got == want:
                continue
            problems.append(f"{machine} {name}: {got!r} instead of {want!r}")
    return problems
