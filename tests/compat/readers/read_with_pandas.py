"""Read a lake's training rows with pandas and pyarrow: ``read_with_pandas.py LAKE FEATURE``; prints JSON rows."""

import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

folder = Path(sys.argv[1], "processed", "training")
files = sorted(folder.glob("*/*/*/*/features.parquet"))
schema = ds.dataset(files[-1]).schema  # of the newest: older files lack its new columns
rows = ds.dataset(files, schema=schema).to_table(columns=["machine_id", "event_timestamp", sys.argv[2]]).to_pandas()
one = pd.read_parquet(files[-1])
rows["micros"] = rows["event_timestamp"].astype("datetime64[us, UTC]").astype("int64")
rows = rows.sort_values(["micros", "machine_id"])
rows[sys.argv[2]] = rows[sys.argv[2]].astype(object).where(rows[sys.argv[2]].notna(), None)
print(json.dumps(rows[["machine_id", "micros", sys.argv[2]]].values.tolist()))
print(json.dumps(sorted(one.columns)))
