from pathlib import Path

import pytest

from layer_build.errors import WheelError
from layer_build.licences import add_licence

METADATA = {"pump.py": b"", "pump-1.0.dist-info/METADATA": b""}


@pytest.mark.parametrize("place", ["LICENSE", "licenses/LICENSE-MIT", "LICENCE.txt", "COPYING"])
def test_wheels_own_licence_is_enough(place: str, tmp_path: Path) -> None:
    files = METADATA | {f"pump-1.0.dist-info/{place}": b"text"}
    assert add_licence("pump", files, tmp_path) == files


def test_licence_that_a_wheel_lacks_is_added(tmp_path: Path) -> None:
    (tmp_path / "pump.txt").write_text("text")
    added = add_licence("pump", METADATA, tmp_path)
    assert added == METADATA | {"pump-1.0.dist-info/licenses/LICENSE": b"text"}


def test_distribution_without_a_licence_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"pump's wheel holds no licence; .*licences/pump\.txt"):
        add_licence("pump", METADATA, tmp_path)


def test_obstore_comes_with_its_licence() -> None:
    (text,) = (data for data in add_licence("obstore", METADATA).values() if data)
    assert b"Development Seed" in text
