"""As many features as an item of the table takes: every file is read again, whatever its size."""

import tempfile
from pathlib import Path

from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from handler.definitions.errors import ConfigurationError
from handler.definitions.schema import feature_schema, require_small_items
from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
from tests.harness import HOUR, Pipeline, at, line, write_raw
from tests.profiles import examples

MOST_READINGS = 400


@given(
    readings=st.integers(1, MOST_READINGS),
    windows=st.sets(st.integers(1, 168), min_size=1, max_size=24),
    letters=st.integers(1, 56),
    pairs=st.integers(0, 3),
    words=st.integers(0, 50_000),
)
@example(readings=8, windows={1, 6, 24}, letters=10, pairs=0, words=0)
@example(readings=2, windows=set(range(1, 13)), letters=10, pairs=0, words=0)
@example(readings=255, windows={1, 6, 24}, letters=12, pairs=3, words=50_000)
@settings(max_examples=examples(10))
def test_files_of_any_features_that_items_can_hold_are_read_again(
    readings: int, windows: set[int], letters: int, pairs: int, words: int
) -> None:
    names = [f"r{number:0{letters}}" for number in range(readings)]
    spec = FeatureSpec.parse(
        f"windows = {[f'{hours}h' for hours in sorted(windows)]}\n"
        f"pairs = {[list(names[k : k + 2]) for k in range(min(pairs, readings - 1))]}\n"
        f"# {'x' * words}\n" + "".join(f'[[readings]]\nname = "{name}"\nplausible = [0, 100]\n' for name in names)
    )
    try:
        require_small_items(spec)
    except ConfigurationError:
        assume(False)
    event(f"{len(feature_schema(spec)) // 1000},000 features and more")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = [line("M", at(0, minutes=k), **dict.fromkeys(names, k)) for k in (5, 11, 50)]
        write_raw(root, at(0), "a.jsonl", lines)
        pipeline = Pipeline(root, spec=spec, time_window=HOUR, allowed_lateness=HOUR)
        assert pipeline.run(at(1))["training"] == {"files": 1, "rows": 1, "kept": 0}
        files = {path: path.stat().st_mtime_ns for path in root.glob("processed/**/*.parquet")}
        again = pipeline.run(at(1))
        assert (again["tiles"]["reused"], again["training_current"], again["damaged"]) == (1, 1, 0)
        assert files == {path: path.stat().st_mtime_ns for path in root.glob("processed/**/*.parquet")}
        rows = FeatureStore.open(root.as_uri()).training(at(0), at(1)).collect()
        assert rows.columns[3:] == list(feature_schema(spec))
        assert rows[f"{names[-1]}_mean_{max(windows)}h"].to_list() == [22.0]
