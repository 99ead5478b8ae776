"""Opening a lake: a bucket, ``s3://bucket``, a folder, a ``Path``, ``file:///``; in Python and by command lines."""

import json
import shutil
from pathlib import Path

import pytest

from handler.lake.lake import Lake
from local.__main__ import main as local
from machine_features import FeatureStore
from machine_features.__main__ import main
from machine_features.errors import ConfigurationError
from machine_features.places import Place
from tests.harness import T0, Aws, at, line, write_raw
from tests.unit.machine_features.conftest import Plant

MEAN = "vibration_rms_mean_1h"


@pytest.mark.parametrize("form", ["url", "path", "text", "text with a slash", "relative", "word", "localhost"])
def test_folder_is_opened_however_it_is_written(
    form: str, plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = plant.pipeline.root
    monkeypatch.chdir(root.parent)
    forms: dict[str, str | Path] = {
        "url": root.as_uri(), "path": root, "text": str(root), "text with a slash": f"{root}/",
        "relative": f"./{root.name}", "word": root.name, "localhost": f"file://localhost{root}",
    }  # fmt: skip
    location = forms[form]
    store = FeatureStore.open(location)
    assert store.training(T0, at(2), features=MEAN).collect().height == 10
    assert main(["training", "2025-10-15T00:00:00Z", "2025-10-15T02:00:00Z", "--lake", str(location), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


@pytest.mark.parametrize("sign", "#?\t")
def test_url_opens_no_folder_but_its_own(sign: str, plant: Plant, tmp_path: Path) -> None:
    """To a URL's parser, these signs end the path or are no part of it."""
    shutil.copytree(plant.pipeline.root, tmp_path / "a")
    shutil.copytree(plant.pipeline.root, tmp_path / "ab")
    url = f"{tmp_path.as_uri()}/a{sign}b"
    for open_lake in (FeatureStore.open, Lake.open):
        with pytest.raises(
            ConfigurationError, match="there is no folder" if sign == "\t" else "%23 for # and %3F for ?"
        ):
            open_lake(url)


def test_folder_with_signs_of_a_url_in_its_name(plant: Plant, tmp_path: Path) -> None:
    root = Path(shutil.copytree(plant.pipeline.root, tmp_path / "a #1?b=%20 c"))
    for location in (root, str(root), root.as_uri()):
        assert FeatureStore.open(location).training(T0, at(2), features=MEAN).collect().height == 10


@pytest.mark.parametrize("location", ["lake", "s3://lake", "s3://lake/"])
def test_bucket_is_opened_however_it_is_written(
    location: str, plant: Plant, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in plant.pipeline.root.rglob("*.parquet"):
        aws.s3.put_object(Bucket="lake", Key=path.relative_to(plant.pipeline.root).as_posix(), Body=path.read_bytes())
    assert FeatureStore.open(location).training(T0, at(2), features=MEAN).collect().height == 10
    assert main(["features", "--lake", location, "--json"]) == 0
    assert MEAN in capsys.readouterr().out


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (
            "file://rel/x",
            "'file://rel/x' names no place: 'rel' stands for a host; give a bucket, s3://bucket, a folder",
        ),
        ("s3://lake/part", "s3://lake/part/ is not a whole bucket; give s3://lake"),
        ("s3://", "'s3://' is neither a folder nor a bucket's name"),
        ("gs://lake", "'gs://lake' names no place"),
        ("A_Bucket", "'A_Bucket' is neither a folder nor a bucket's name"),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        (Path("nowhere"), "there is no folder"),
        ("", "names no place"),
        ("x" * 5000, "names no place"),
        ("~nobody-of-this-name/lake", "names no place"),
        ("s3://[", "names no place"),
        ("file:///plant/a#b", "'file:///plant/a#b' names no folder; write file:///folder, %23 for # and %3F for ?"),
        ("file:///plant/a?b", "%3F for ?"),
        ("file:///?", "%3F for ?"),
        ("file://", "'file://' names no folder; write file:///folder"),
        ("file://localhost", "'file://localhost' names no folder; write file:///folder"),
        ("s3://bucket?x=1", "'s3://bucket?x=1' has more than a bucket and a prefix; give a bucket, s3://bucket"),
        ("s3://bucket#x", "has more than a bucket"),
        ("s3://bucket/?", "has more than a bucket"),
        ("s3://buck\tet", "has more than a bucket"),
        (None, "None names no place"),
        (b"lake", "names no place"),
    ],
)
def test_what_is_no_place_is_one_line(location: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)^lake: ") as error:
        FeatureStore.open(location)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    if location and isinstance(location, str):
        assert main(["features", "--lake", location]) == 2
        assert message in capsys.readouterr().err


def test_export_goes_to_a_folder_or_a_part_of_a_bucket(plant: Plant, aws: Aws, tmp_path: Path) -> None:
    for to in (tmp_path / "a", str(tmp_path / "b"), (tmp_path / "c").as_uri()):
        assert plant.store.export(T0, at(2), to).get_column("rows").to_list() == [10]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
    (key,) = plant.store.export(T0, at(2), "s3://lake/some/part").get_column("key")
    assert key.startswith("some/part/event_date=2025-10-15/")
    assert aws.get(key)[:4] == b"PAR1"
    assert Place.read("s3://lake").prefix == ""
    with pytest.raises(ConfigurationError, match="stands for a host"):
        plant.store.export(T0, at(2), "file://rel/x")


def test_local_run_takes_a_folder_as_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_raw(tmp_path / "lake", at(8), "a.jsonl", [line("M1", at(8.5), vibration=5)])
    monkeypatch.setenv("TIME_WINDOW", "6")
    assert local(["--lake", "s3://lake"]) == 2
    assert "--lake: s3://lake is a bucket; give a folder that holds raw/" in capsys.readouterr().err
    assert local(["--lake", "file://lake/x"]) == 2
    assert "'lake' stands for a host" in capsys.readouterr().err
    assert local(["--lake", (tmp_path / "lake").as_uri(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["machines"] == 1


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_is_that_of_either_variable(
    variable: str, aws: Aws, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="AWS_REGION: is not set"):
        FeatureStore.open("lake")
    with pytest.raises(ConfigurationError, match="AWS_REGION: is not set"):
        FeatureStore.open(plant.pipeline.root, table="features").online("M1")
    monkeypatch.setenv(variable, "us-east-1")
    assert FeatureStore.open("lake").hours() == []
    rows = FeatureStore.open(plant.pipeline.root, table="features").online("M1")
    assert rows.get_column("status").to_list() == ["missing"]
