"""The build's zips as Lambda unpacks them."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builds import ROOT, Built

RUNTIME = ROOT / ".tools" / "runtime"


@dataclass(frozen=True)
class Unpacked:
    """Layer and function as Lambda unpacks them."""

    layer: Path
    function: Path


@pytest.fixture(scope="session")
def unpacked(first: Built, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    opt, task = tmp_path_factory.mktemp("opt"), tmp_path_factory.mktemp("task")
    for name, root in (("pandas_layer.zip", opt), ("processing_lambda.zip", task)):
        with zipfile.ZipFile(first.out / name) as archive:
            archive.extractall(root)
    return Unpacked(opt / "python", task)
