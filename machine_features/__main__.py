"""The command line: ``machine-features``."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import polars as pl

from handler.definitions.errors import ProcessingError
from machine_features.store import FeatureStore

_WRONG_INPUT: Final = 2
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
        The exit status: 0, or 2 where the input is wrong or a store fails.
    """
    options = _parse(arguments)
    try:
        store = FeatureStore.open(options.lake, options.table, options.region)
        frame = _COMMANDS[options.command](store, options)
        _write(frame, options)
    except (ProcessingError, ValueError, OSError) as error:
        print(f"machine-features: {error}", file=sys.stderr)
        return _WRONG_INPUT
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--lake", required=True, metavar="BUCKET", help="a bucket, or a folder as file:///lake")
    common.add_argument("--table", help="the online table (default: DYNAMODB_TABLE_NAME)")
    common.add_argument("--region", help="of bucket and table (default: the environment's)")
    common.add_argument("--json", action="store_true", help="print rows as JSON lines")
    common.add_argument("--out", metavar="FILE", help="write a .parquet or .csv file, and print nothing")
    span = argparse.ArgumentParser(add_help=False)
    span.add_argument("start", help="an instant such as 2025-10-15T00:00:00Z")
    span.add_argument("end", help="the hours in (start, end]")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--features", type=_split, metavar="A,B", help="columns (default: all)")
    known = argparse.ArgumentParser(add_help=False)
    known.add_argument("--knowledge", choices=["latest", "as_of"], default="latest", help="of each hour")
    parser = argparse.ArgumentParser(prog="machine-features", description="Read features, and where they come from.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("features", parents=[common], help="the catalogue")
    training = commands.add_parser("training", parents=[common, span, chosen, known], help="training rows")
    training.add_argument("--machines", type=_split, metavar="A,B", help="machines (default: all)")
    labels = commands.add_parser("labels", parents=[common, span, chosen, known], help="training rows with labels")
    labels.add_argument("--horizon", required=True, help="such as 24h")
    labels.add_argument("--gap", default="0s", help="between row and horizon (default: 0s)")
    labels.add_argument("--codes", type=_split, metavar="A,B", help="failure codes (default: all)")
    labels.add_argument("--merge-within", default="1h", help="failures so close are one (default: 1h)")
    online = commands.add_parser("online", parents=[common, chosen], help="items of the table")
    online.add_argument("machines", nargs="+", metavar="MACHINE")
    online.add_argument("--max-age", help="beyond which an item is stale")
    parity = commands.add_parser("parity", parents=[common], help="cells in which table and training set differ")
    parity.add_argument("as_of", help="a whole hour")
    trace = commands.add_parser("trace", parents=[common], help="the raw lines of a value")
    trace.add_argument("machine")
    trace.add_argument("as_of", help="the row's instant")
    trace.add_argument("feature", help="the column")
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
    ).collect()


def _label(store: FeatureStore, options: argparse.Namespace) -> pl.DataFrame:
    return store.labels(
        _read_training(store, options),
        horizon=options.horizon,
        gap=options.gap,
        codes=options.codes,
        merge_within=options.merge_within,
    )


_COMMANDS: Final[dict[str, Callable[[FeatureStore, Any], pl.DataFrame]]] = {
    "features": lambda store, _: store.features(),
    "training": _read_training,
    "labels": _label,
    "online": lambda store, o: store.online(o.machines, features=o.features, max_age=o.max_age),
    "parity": lambda store, o: store.parity(o.as_of).cells,
    "trace": lambda store, o: store.trace(o.machine, o.as_of, o.feature),
}


def _write(frame: pl.DataFrame, options: argparse.Namespace) -> None:
    if options.out is not None:
        if not options.out.endswith((".parquet", ".csv")):
            raise ValueError(f"--out {options.out} is neither .parquet nor .csv")
        write = frame.write_parquet if options.out.endswith(".parquet") else frame.write_csv
        write(options.out)
    elif options.json:
        for row in frame.iter_rows(named=True):
            print(json.dumps(row, default=_to_json, ensure_ascii=False))
    else:
        with pl.Config(tbl_rows=_SHOWN_ROWS, tbl_cols=-1, tbl_hide_dataframe_shape=False, tbl_width_chars=200):
            print(frame)


def _to_json(value: Any) -> Any:
    seconds = getattr(value, "total_seconds", None)
    return seconds() if seconds is not None else value.isoformat()


if __name__ == "__main__":
    sys.exit(main())
