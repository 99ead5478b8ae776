"""The command line: ``machine-features``."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import polars as pl

from machine_features.errors import ArgumentError, ProcessingError, UnknownMachineWarning
from machine_features.store import FeatureStore
from machine_features.visible import disarm_formulas, make_visible, show_frame

_DIFFERENT: Final = 1
_WRONG_INPUT: Final = 2
_REPORT: Final = "report.html"
_NOTE_EVERY: Final = 30
"""Seconds between two log lines of a command that takes long."""

_SHOWN_ROWS: Final = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Without the program's name; None for those of the process.

    Returns
    -------
    int
        The exit status: 0; 1 where parity finds a cell that nothing explains; 2 where the input is wrong or a store
        fails.
    """
    options = _parse(arguments)
    try:
        with _tell_of_time(options.command), _show_warnings():
            store = FeatureStore.open(options.lake, options.table, options.region)
            frame = _COMMANDS[options.command](store, options)
        if options.command == "report":
            print(json.dumps(frame.row(0, named=True)) if options.json else make_visible(frame.item(0, "report")))
            return 0
        _write(frame, options)
        if options.command == "parity" and "unexplained" in frame.get_column("cause"):
            return _DIFFERENT
    except (ProcessingError, OSError) as error:
        print(f"machine-features: {make_visible(str(error))}", file=sys.stderr)
        return _WRONG_INPUT
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--lake", required=True, metavar="PLACE", help="a bucket, s3://bucket, a folder, or file:///lake"
    )
    common.add_argument("--table", help="the online table (default: DYNAMODB_TABLE_NAME)")
    common.add_argument("--region", help="of bucket and table (default: the environment's)")
    common.add_argument("--json", action="store_true", help="print rows as JSON lines")
    common.add_argument("--out", metavar="FILE", help="write a .parquet or .csv file (a report: .html), and no rows")
    span = argparse.ArgumentParser(add_help=False)
    span.add_argument("start", help="an instant such as 2025-10-15T00:00:00Z")
    span.add_argument("end", help="the hours in (start, end]")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--features", type=_split, metavar="A,B", help="columns, or globs (default: all)")
    known = argparse.ArgumentParser(add_help=False)
    known.add_argument("--knowledge", choices=["latest", "as_of"], default="latest", help="of each hour")
    known.add_argument(
        "--missing", choices=["error", "null"], default="error", help="of hours that cannot be computed any more"
    )
    parser = argparse.ArgumentParser(prog="machine-features", description="Read features, and where they come from.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("features", parents=[common], help="the catalogue")
    training = commands.add_parser("training", parents=[common, span, chosen, known], help="training rows")
    training.add_argument("--machines", type=_split, metavar="A,B", help="machines (default: all)")
    labels = commands.add_parser("labels", parents=[common, span, chosen, known], help="training rows with labels")
    labels.add_argument("--horizon", help="such as 24h; only the time to failure does without")
    labels.add_argument("--kind", choices=["fails_within", "time_to_failure"], default="fails_within", help="of label")
    labels.add_argument("--gap", default="0s", help="between row and horizon (default: 0s)")
    labels.add_argument("--codes", type=_split, metavar="A,B", help="failure codes (default: all)")
    labels.add_argument("--merge-within", default="1h", help="failures so close are one (default: 1h)")
    online = commands.add_parser("online", parents=[common, chosen], help="items of the table")
    online.add_argument("machines", nargs="+", metavar="MACHINE")
    online.add_argument("--max-age", help="beyond which an item is stale")
    parity = commands.add_parser("parity", parents=[common], help="cells in which table and training set differ")
    parity.add_argument("as_of", help="the instant that items carry")
    trace = commands.add_parser("trace", parents=[common], help="the raw lines of a value")
    trace.add_argument("machine")
    trace.add_argument("as_of", help="the row's instant")
    trace.add_argument("feature", help="the column")
    report = commands.add_parser("report", parents=[common], help="an HTML page of the machines (extra: report)")
    report.add_argument("start", nargs="?", help="the hours in (start, end] (default: seven days)")
    report.add_argument("end", nargs="?", help="(default: the newest training hour)")
    return parser.parse_args(arguments)


def _split(text: str) -> list[str]:
    return text.split(",")


def _read_training(store: FeatureStore, options: argparse.Namespace) -> pl.DataFrame:
    return store.training(
        options.start,
        options.end,
        features=options.features,
        machines=getattr(options, "machines", None),
        knowledge=options.knowledge,
        missing=options.missing,
    ).collect()


def _label(store: FeatureStore, options: argparse.Namespace) -> pl.DataFrame:
    return store.labels(
        _read_training(store, options),
        horizon=options.horizon,
        gap=options.gap,
        codes=options.codes,
        merge_within=options.merge_within,
        kind=options.kind,
    )


def _compare(store: FeatureStore, options: argparse.Namespace) -> pl.DataFrame:
    parity = store.parity(options.as_of)
    if parity.compared == 0 and parity.cells.is_empty():
        raise ArgumentError(f"there is nothing to compare at {options.as_of}: no item carries it, no machine has a row")
    return parity.cells


def _report(store: FeatureStore, options: argparse.Namespace) -> pl.DataFrame:
    try:
        from machine_features.report.page import write_report  # noqa: PLC0415 - with the extra alone
    except ModuleNotFoundError as error:
        raise ArgumentError(f"{error}; install feature-pipeline[report]") from error
    path = Path(options.out or _REPORT)
    findings = write_report(store, path, options.start, options.end)
    return pl.DataFrame({"report": [str(path)], "machines": [findings.fleet]})


_COMMANDS: Final[dict[str, Callable[[FeatureStore, Any], pl.DataFrame]]] = {
    "features": lambda store, _: store.features(),
    "training": _read_training,
    "labels": _label,
    "online": lambda store, o: store.online(o.machines, features=o.features, max_age=o.max_age),
    "parity": _compare,
    "report": _report,
    "trace": lambda store, o: store.trace(o.machine, o.as_of, o.feature),
}


@contextmanager
def _show_warnings() -> Iterator[None]:
    """Say on stderr, each on a line, which machines are nowhere."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnknownMachineWarning)
        yield
    for each in caught:
        print(f"machine-features: {make_visible(str(each.message))}", file=sys.stderr)


@contextmanager
def _tell_of_time(command: str) -> Iterator[None]:
    """Tell on stderr how long a command has been at work: each second where a person watches, else now and then."""
    done, begun = Event(), time.monotonic()
    watched = sys.stderr.isatty()

    def tell() -> None:
        while not done.wait(1 if watched else _NOTE_EVERY):
            text = f"machine-features: {command}, {time.monotonic() - begun:.0f} s"
            print(f"\r{text}" if watched else text, end="" if watched else "\n", file=sys.stderr, flush=True)
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _write(frame: pl.DataFrame, options: argparse.Namespace) -> None:
    if options.out is not None:
        if not options.out.endswith((".parquet", ".csv")):
            raise ArgumentError(f"--out {options.out} is neither .parquet nor .csv")
        if options.out.endswith(".parquet"):
            frame.write_parquet(options.out)
        else:
            disarm_formulas(frame).write_csv(options.out)
    elif options.json:
        for row in frame.iter_rows(named=True):
            print(make_visible(json.dumps(row, default=_to_json, ensure_ascii=False)))
    else:
        with pl.Config(tbl_rows=_SHOWN_ROWS, tbl_cols=-1, tbl_hide_dataframe_shape=False, tbl_width_chars=200):
            print(make_visible(str(show_frame(frame)), keep="\n"))


def _to_json(value: Any) -> Any:
    seconds = getattr(value, "total_seconds", None)
    return seconds() if seconds is not None else value.isoformat()


if __name__ == "__main__":
    sys.exit(main())
