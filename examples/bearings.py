"""Judge one rule on the bearings of a run to failure: each against its own beginning, and against the others.

The lake holds the second test of the IMS bearing data (NASA's prognostics data repository): four bearings on one shaft,
of which the first failed. An alarm is raised where a bearing's mean of six hours stays above ``--ratio`` times its own
baseline, over the fleet's, for ``--hours`` hours. With one failure in the data nothing can be learned: the rule is
tried, not chosen, and the table shows how much depends on the threshold.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import polars as pl

from machine_features import FeatureStore

BASELINE: Final = timedelta(hours=48)
"""From the beginning; rows of this time raise no alarm."""

MEAN: Final = "vibration_rms_mean_6h"


def compare(store: FeatureStore) -> pl.DataFrame:
    """Give each bearing's mean at each hour over its own baseline, over the median of all bearings' at that hour."""
    hours = store.hours()
    rows = store.training(hours[0] - timedelta(hours=1), hours[-1], features=[MEAN, "vibration_rms_zone"]).collect()
    begins = pl.col("event_timestamp") < hours[0] + BASELINE
    own = pl.col(MEAN) / pl.col(MEAN).filter(begins).median().over("machine_id")
    compared = rows.with_columns(own=own).with_columns(
        ratio=pl.col("own") / pl.col("own").median().over("event_timestamp")
    )
    return compared.filter(~begins).sort("machine_id", "event_timestamp")


def raise_alarms(compared: pl.DataFrame, ratio: float, hours: int) -> pl.DataFrame:
    """Find the first alarm of each bearing: the ratio has been above for so many hours in a row."""
    above = (pl.col("ratio") > ratio).cast(pl.Int8)
    lasting = above.rolling_min(hours).over("machine_id") == 1
    return (
        compared.with_columns(is_alarm=lasting.fill_null(value=False))
        .group_by("machine_id", maintain_order=True)
        .agg(alarm=pl.col("event_timestamp").filter("is_alarm").first(), hours=pl.col("is_alarm").sum())
    )


def judge(store: FeatureStore, compared: pl.DataFrame, ratio: float, hours: int) -> dict[str, float | int | None]:
    """Compare the alarms with the failures: hours of lead, and hours of alarm on bearings that did not fail."""
    alarms = raise_alarms(compared, ratio, hours)
    span = compared.get_column("event_timestamp")
    failures = store.failures(span[0] - BASELINE, span[-1] + timedelta(hours=1)).group_by("machine_id").first()
    judged = alarms.join(failures.select("machine_id", failed="event_timestamp"), on="machine_id", how="left")
    failed = judged.filter(pl.col("failed").is_not_null())
    lead = (failed.get_column("failed") - failed.get_column("alarm")).dt.total_minutes().max()
    sound = judged.filter(pl.col("failed").is_null())
    return {
        "ratio": ratio,
        "lead_hours": None if lead is None else round(float(lead) / 60, 1),  # type: ignore[arg-type] # minutes
        "false_alarms": sound.get_column("alarm").count(),
        "false_hours": int(sound.get_column("hours").sum()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the rule at the given ratio, and at others beside it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--lake", required=True, help="a bucket, s3://bucket, a folder, or file:///lake")
    parser.add_argument("--ratio", type=float, default=1.2, help="over the own baseline and the fleet (default: 1.2)")
    parser.add_argument("--hours", type=int, default=3, help="for so long (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    store = FeatureStore.open(options.lake)
    compared = compare(store)
    ratios = sorted({options.ratio, 1.1, 1.2, 1.3, 1.5, 2.0})
    found = [judge(store, compared, ratio, options.hours) for ratio in ratios]
    zones = sorted(set(compared.get_column("vibration_rms_zone").drop_nulls()))
    if options.json:
        print(json.dumps({"rules": found, "zones": zones}))
        return 0
    print(f"An alarm: above the ratio for {options.hours} hours. Zones, the same for all bearings: {', '.join(zones)}.")
    with pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True):
        print(pl.DataFrame(found))
    print("One failure is too few to choose a ratio by. A negative lead is an alarm after the failure.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
