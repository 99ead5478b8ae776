"""What is installed of the lock, and when again."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts import attempt, install
from scripts.attempt import InstallError
from scripts.install import MissingWheelError, Package, install_categories, read_categories, write_requirements

ROOT = Path(__file__).parents[3]
RICH = {"version": "==15.0.0", "hashes": ["sha256:aa", "sha256:bb"], "markers": "python_version >= '3.8'"}


def read_lock() -> dict[str, Any]:
    lock: dict[str, Any] = json.loads((ROOT / "Pipfile.lock").read_text())
    return {name: category for name, category in lock.items() if name != "_meta"}


def test_requirements_are_exact_with_extras_markers_and_hashes() -> None:
    moto = {"version": "==5.2.5", "hashes": ["sha256:cc"], "extras": ["dynamodb", "s3"]}
    assert write_requirements({"rich": RICH, "moto": moto}) == (
        "moto[dynamodb,s3]==5.2.5 --hash=sha256:cc\n"
        "rich==15.0.0 ; python_version >= '3.8' --hash=sha256:aa --hash=sha256:bb\n"
    )


def test_categories_have_the_names_of_the_pipfile() -> None:
    categories = read_categories(ROOT / "Pipfile.lock", ["packages", "dev-packages", "local"])
    assert "polars" in categories["packages"]
    assert "pytest" in categories["dev-packages"]
    assert "rich" in categories["local"]


def test_only_categories_that_changed_are_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed: list[set[str]] = []
    monkeypatch.setattr(install, "_run_pip", lambda packages: installed.append(set(packages)))
    categories: dict[str, Mapping[str, Package]] = {"a": {"rich": RICH}, "b": {"moto": RICH}}
    install_categories({"a": categories["a"]}, tmp_path)
    install_categories(categories, tmp_path)
    install_categories(categories, tmp_path)
    install_categories({**categories, "a": {"rich": {**RICH, "version": "==16"}}}, tmp_path)
    assert installed == [{"rich"}, {"moto"}, {"rich"}]


def test_what_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    attempts: list[str] = []

    def fail(_packages: Mapping[str, Package]) -> None:
        attempts.append("once")
        raise MissingWheelError("a", "")

    monkeypatch.setattr(install, "_run_pip", fail)
    for _ in range(2):
        with pytest.raises(MissingWheelError):
            install_categories({"a": {"rich": RICH}}, tmp_path)
    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("ERROR: No matching distribution found for ziglang==0.17.1", MissingWheelError),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", InstallError),
    ],
)
def test_missing_wheel_is_told_from_other_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, error: type[Exception]
) -> None:
    pip = tmp_path / "pip.py"
    pip.write_text(f"import sys\nsys.exit({says!r})\n")
    monkeypatch.setattr(install, "_PIP", (sys.executable, str(pip)))
    monkeypatch.setattr(attempt, "LOG", tmp_path / "install.log")
    with pytest.raises(InstallError) as raised:
        install_categories({"a": {"rich": RICH}}, tmp_path / "state")
    assert type(raised.value) is error
    assert not (tmp_path / "state" / "a").exists()


def test_package_has_one_release_in_every_category() -> None:
    releases: dict[str, set[str]] = {}
    for category in read_lock().values():
        for name, package in category.items():
            releases.setdefault(name, set()).add(package["version"])
    assert {name: found for name, found in releases.items() if len(found) > 1} == {}


def test_lock_names_no_registry() -> None:
    text = (ROOT / "Pipfile.lock").read_text()
    assert json.loads(text)["_meta"]["sources"] == []
    assert '"index"' not in text
    assert "://" not in text
