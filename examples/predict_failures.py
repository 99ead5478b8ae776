"""Predict failures from what was known at each hour, and score the machines that are online now.

First simulate a plant whose machines fail, some without warning: ``make examples`` does both.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

from machine_features import FeatureStore
from machine_features.visible import show_frame

HORIZON: Final = timedelta(hours=12)
TRAINING_SHARE: Final = 0.6
"""Of the machines, and of the time: the model is tried on other machines at a later time."""

THRESHOLD: Final = 0.5
"""Chosen before anything was measured."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well an alarm foretells failures.

    Attributes
    ----------
    precision
        Of the rows with an alarm, the share that a failure follows within the horizon; None without an alarm.
    recall
        Of the rows that a failure follows, the share with an alarm.
    failures, foretold
        Failures, and those with an alarm in at least one row before.
    hours_ahead
        The median time from the first such row to the failure; None where no failure was foretold.
    """

    precision: float | None
    recall: float
    failures: int
    foretold: int
    hours_ahead: float | None


def prepare(store: FeatureStore) -> pl.DataFrame:
    """Read labelled rows: what could be known at each hour, and whether the machine failed within the horizon."""
    hours = store.hours()
    rows = store.training(hours[0] - timedelta(hours=1), hours[-1], knowledge="as_of").collect()
    labelled = store.labels(rows, horizon=HORIZON, merge_within="6h")
    return labelled.filter(pl.col("status") == "observed")


def split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, datetime]:
    """Split by machine and by time; no training row looks beyond the instant from which on the model is tried."""
    machines = rows.get_column("machine_id").unique().sort()
    known = machines.sample(fraction=TRAINING_SHARE, seed=0)
    times = rows.get_column("event_timestamp").unique().sort()
    instant = times[int(len(times) * TRAINING_SHARE)]
    is_known, time = pl.col("machine_id").is_in(known.implode()), pl.col("event_timestamp")
    return rows.filter(is_known, time + HORIZON <= instant), rows.filter(~is_known, time >= instant), instant


def to_numbers(rows: pl.DataFrame, features: list[str]) -> pl.DataFrame:
    """Keep only features, with the zones as numbers."""
    zones = {"A": 0.0, "B": 1.0, "C": 2.0, "D": 3.0}
    return rows.select(features).with_columns(pl.col(pl.String).replace_strict(zones, return_dtype=pl.Float64))


def judge(rows: pl.DataFrame, alarm: pl.Series) -> Score:
    """Compare alarms with labels, row by row and failure by failure."""
    judged = rows.select("machine_id", "event_timestamp", "label", "time_to_failure", alarm=alarm)
    alarms, failing = judged.filter("alarm"), judged.filter(pl.col("label") == 1)
    ahead = (
        failing.with_columns(failed_at=(pl.col("event_timestamp") + pl.col("time_to_failure")))
        .group_by("machine_id", "failed_at")
        .agg(pl.col("time_to_failure").filter("alarm").max())
        .get_column("time_to_failure")
    )
    median = ahead.dt.total_minutes().median()
    return Score(
        precision=None if alarms.is_empty() else float(alarms.get_column("label").mean()),  # type: ignore[arg-type]
        recall=float(failing.get_column("alarm").mean()) if failing.height else 0.0,  # type: ignore[arg-type]
        failures=len(ahead),
        foretold=len(ahead) - ahead.null_count(),
        hours_ahead=None if median is None else float(median) / 60,  # type: ignore[arg-type]
    )


def main(arguments: list[str] | None = None) -> int:
    """Train, compare with zones alone, and score what is online."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lake", required=True, help="a bucket, s3://bucket, a folder, or file:///lake")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    store = FeatureStore.open(options.lake)
    rows = prepare(store)
    features = store.features().get_column("name").to_list()
    training, trial, instant = split(rows)
    if training.get_column("label").n_unique() < 2 or trial.filter(pl.col("label") == 1).is_empty():
        print("predict_failures: too few failures; simulate more machines or hours", file=sys.stderr)
        return 2
    model = HistGradientBoostingClassifier(random_state=0, class_weight="balanced")
    model.fit(to_numbers(training, features).to_numpy(), training.get_column("label").to_numpy())

    def score(some: pl.DataFrame) -> pl.Series:
        return pl.Series(model.predict_proba(to_numbers(some, features).to_numpy())[:, 1])

    scores = {
        "model": judge(trial, score(trial) >= THRESHOLD),
        "zones": judge(trial, trial.get_column("vibration_rms_zone").is_in(["C", "D"]).fill_null(value=False)),
    }
    machines = rows.get_column("machine_id").unique().sort()
    newest = store.hours()[-1]  # a simulated plant lies in the past: a service leaves `now` to the clock
    online = store.online(machines, max_age="6h", now=newest).filter(pl.col("status") == "present")
    risks = online.select("machine_id", "event_timestamp", risk=score(online)).sort("risk", descending=True)
    if options.json:
        found = {name: asdict(each) for name, each in scores.items()}
        print(json.dumps({**found, "online": dict(risks.select("machine_id", "risk").iter_rows())}))
        return 0
    failing = training.get_column("label").sum()
    print(f"Trained on {training.height:,} rows before {instant:%Y-%m-%d %H:%M} ({failing} precede a failure by 12 h).")
    print(
        f"Tried on {trial.height:,} rows of other machines from then on. An alarm is a risk of {THRESHOLD:.0%} or more."
    )
    table = pl.DataFrame([{"alarm by": name, **asdict(each)} for name, each in scores.items()])
    with pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, float_precision=2, tbl_rows=8):
        print(table)
        print("The machines that are online, by risk:")
        print(show_frame(risks.head(8)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
