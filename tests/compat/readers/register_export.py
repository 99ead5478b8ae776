"""Register exported daily files with Delta and Iceberg: ``register_export.py FOLDER KEYS.json FEATURE``; prints JSON.

What is registered is what the export returned. No file is copied or written again.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction
from pyiceberg.catalog.sql import SqlCatalog

folder, keys, feature = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
files = [folder / key for key in keys]
schema = pq.read_schema(files[0])

delta = DeltaTable.create(str(folder), schema=Schema.from_arrow(schema))
delta.create_write_transaction(
    [
        AddAction(key, (folder / key).stat().st_size, {}, int((folder / key).stat().st_mtime * 1000), True, "{}")
        for key in keys
    ],
    mode="append",
    schema=delta.schema(),
)
print(DeltaTable(str(folder)).to_pyarrow_table(columns=[feature]).num_rows)

catalogue = SqlCatalog("plant", uri=f"sqlite:///{folder}/iceberg.db", warehouse=f"file://{folder}/iceberg")
catalogue.create_namespace("plant")
iceberg = catalogue.create_table("plant.rows", schema=schema)
iceberg.add_files([f"file://{file}" for file in files])
print(iceberg.scan(selected_fields=(feature,)).to_arrow().num_rows)
