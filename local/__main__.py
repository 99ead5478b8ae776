"""The command line of the local run: ``pipenv run local``, or ``make run``."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from handler.definitions.errors import ConfigurationError, EventError, ProcessingError
from handler.definitions.layout import RAW, parse_folder
from handler.definitions.raw import is_telemetry
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, TILE, floor_to
from handler.plan import make_plan
from local.run import local_function
from local.show import show_accounting, show_features, show_files, show_steps, show_text
from local.simulate import Plant, simulate_hours
from machine_features import FeatureStore
from machine_features.online import KEPT_ITEMS
from machine_features.places import Place
from machine_features.visible import make_visible

DEFAULT_LAKE: Final = Path("local-lake")
_SCHEDULE: Final = 6 * HOUR
REPORT: Final = "report.html"
_MARK: Final = ".simulated"
_LEVELS: Final = 4
"""Folders from ``raw/`` to a partition."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status: 0, or 2 where the input is wrong."""
    options = _parse(arguments)
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 200)
    try:
        answers = _run(options, console)
    except ProcessingError as error:
        print(f"local: {make_visible(str(error))}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(answers))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="local",
        description="Run the function on this machine: on a simulated plant, or on a lake folder of yours.",
    )
    parser.add_argument(
        "--lake", metavar="DIR", help="a folder that holds raw/, or file:///folder (default: simulate one)"
    )
    parser.add_argument("--as-of", metavar="T", help="the instant to compute features of (default: the lake's end)")
    parser.add_argument("--features", type=Path, metavar="FILE", help="a features.toml (default: the packaged one)")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="write training hours also where this features.toml takes rows that they have",
    )
    parser.add_argument("--machines", type=int, default=8, help="simulated machines (default: 8)")
    parser.add_argument("--hours", type=int, default=30, help="simulated hours (default: 30)")
    parser.add_argument(
        "--failures", type=int, metavar="N", help="failures of any machines (default: one, of the last)"
    )
    parser.add_argument("--interval", type=int, default=10, metavar="S", help="seconds between readings (default: 10)")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds simulate equal plants (default: 7)")
    parser.add_argument("--json", action="store_true", help="print the runs' answers as JSON, all else on stderr")
    options = parser.parse_args(arguments)
    if options.machines < 1 or options.hours < 1:
        parser.error("--machines and --hours must be 1 or more")
    if options.interval < 1:
        parser.error("--interval must be 1 or more")
    if options.failures is not None and options.failures < 0:
        parser.error("--failures must be 0 or more")
    return options


def _run(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    spec = FeatureSpec.load(options.features)
    now = datetime.now(UTC)
    as_of = None if options.as_of is None else _read_as_of(options.as_of, now)
    if options.lake is None:
        lake, plant = _prepare_default_lake(), _describe_plant(options)
        answers, items = _play(_let_hours_arrive(plant, lake), _count_steps(plant), lake, options, console)
    else:
        lake = _find_folder(options.lake)
        as_of = as_of or min(_find_latest_arrival(lake) + HOUR, floor_to(now, TILE))
        answers, items = _play([("once", as_of), ("again", as_of)], 2, lake, options, console)
    show_accounting(console, answers)
    tiles = answers[-1]["tiles"]
    if tiles["built"] == 0:
        console.print(
            f"The last run found the lake unchanged: it reused every tile file ({tiles['reused']}) and read no line."
        )
    show_features(console, items, spec)
    show_files(console, lake, _log_path(lake), _write_report(lake))
    return answers


def _write_report(lake: Path) -> Path | None:
    """Write the report beside the lake's folders; None where there are no features to report of."""
    from machine_features.report.page import write_report  # it imports Altair

    store = FeatureStore.open(lake.resolve().as_uri())
    if not store.hours():
        return None
    write_report(store, lake / REPORT)
    return lake / REPORT


def _describe_plant(options: argparse.Namespace) -> Plant:
    interval = timedelta(seconds=options.interval)
    return Plant(options.machines, options.hours, interval, seed=options.seed, failures=options.failures)


def _play(
    script: Iterable[tuple[str, datetime | None]],
    length: int,
    lake: Path,
    options: argparse.Namespace,
    console: Console,
) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    """Go through the script's steps, running the function wherever a step names an instant."""
    answers: list[dict[str, Any]] = []
    with (
        show_steps(console, length) as steps,
        local_function(
            lake,
            _log_path(lake),
            features=options.features,
            on_step=lambda message: steps.advance(message, 0),
            on_warning=lambda message: show_text(console, f"warning: {message}"),
        ) as function,
    ):
        for message, as_of in script:
            if as_of is None:
                steps.advance(message)
            else:
                answers.append(function.run_at(as_of, accept_loss=options.accept_loss))
                steps.advance(f"ran as of {answers[-1]['as_of']} {message}")
        function.keep_items(lake / KEPT_ITEMS)
        return answers, function.read_items()


def _let_hours_arrive(plant: Plant, lake: Path) -> Iterator[tuple[str, datetime | None]]:
    """Write hour after hour of telemetry, with the schedule's runs in between, and one more run at the end."""
    for hour, objects in simulate_hours(plant):
        for key, data in objects.items():
            path = lake / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield f"simulated {hour:%Y-%m-%d %H}h: {len(objects)} objects", None
        if hour + HOUR in _list_runs(plant):
            yield "on schedule", hour + HOUR
    yield "again", plant.end


def _list_runs(plant: Plant) -> set[datetime]:
    return {plant.start + k * _SCHEDULE for k in range(1, plant.hours * HOUR // _SCHEDULE + 1)} | {plant.end}


def _count_steps(plant: Plant) -> int:
    return plant.hours + len(_list_runs(plant)) + 1


def _read_as_of(text: str, now: datetime) -> datetime:
    """Read an instant by the rules of an event: the function itself is told that it is that time."""
    try:
        return make_plan({"as_of": text}, now=now, time_window=HOUR, lookback=HOUR).as_of
    except EventError as error:
        raise EventError(f"--as-of: {str(error).removeprefix('event: as_of ')}") from error


def _prepare_default_lake() -> Path:
    """Empty the simulation's own folder, which only the simulation may have made."""
    lake = DEFAULT_LAKE
    if lake.exists() and not (lake / _MARK).exists():
        raise ConfigurationError("lake", f"{lake} exists and was not simulated; move it, or give it with --lake")
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir()
    (lake / _MARK).touch()
    return lake


def _find_folder(location: str) -> Path:
    """Find the folder of a lake; a local run takes no bucket."""
    if ":/" not in location:
        return Path(location).expanduser()
    place = Place.read(location)
    if place.folder is None:
        raise ConfigurationError("--lake", f"{location} is a bucket; give a folder that holds raw/")
    return place.folder


def _find_latest_arrival(lake: Path) -> datetime:
    """Find the last hour of arrival that holds telemetry."""
    if not lake.is_dir():
        raise ConfigurationError("--lake", f"there is no folder {lake}; give one that holds raw/")
    latest: datetime | None = None
    for folder, _, names in os.walk(lake / RAW):
        path = Path(folder).relative_to(lake).as_posix()
        arrival = parse_folder(path) if path.count("/") == _LEVELS else None
        if arrival is not None and any(map(is_telemetry, names)):
            latest = arrival if latest is None else max(latest, arrival)
    if latest is None:
        raise ConfigurationError(
            "--lake", f"{lake} holds no telemetry; it should hold raw/year=YYYY/month=MM/day=DD/hour=HH/*.jsonl"
        )
    return latest


def _log_path(lake: Path) -> Path:
    return lake / "function.log"


if __name__ == "__main__":
    sys.exit(main())
