"""Join features to entities with Feast: ``read_with_feast.py LAKE ENTITIES.parquet OUT.parquet FEATURE FOLDER``."""

import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

lake, entities, out, feature, folder = sys.argv[1:]
store = FeatureStore(
    config=RepoConfig(
        project="plant",
        provider="local",
        registry=str(Path(folder, "registry.db")),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(Path(folder, "online.db"))},
        entity_key_serialization_version=3,
    )
)
machine = Entity(name="machine", join_keys=["machine_id"], value_type=ValueType.STRING)
source = FileSource(path=f"{lake}/processed/training/*/*/*/*/features.parquet", timestamp_field="event_timestamp")
view = FeatureView(
    name="rows", entities=[machine], ttl=timedelta(hours=2), schema=[Field(name=feature, dtype=Float64)], source=source
)
store.apply([machine, view])
frame = pd.read_parquet(entities)
joined = store.get_historical_features(entity_df=frame, features=[f"rows:{feature}"]).to_df()
joined.to_parquet(out)
