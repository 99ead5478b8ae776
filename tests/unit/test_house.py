"""The walls of the house: which package of the handler may import which, counted from the imports themselves."""

import ast
import sys

import pytest

from tests.house import (
    HANDLER,
    count_floors,
    count_lines,
    find_circles,
    keep_own_imports,
    list_imports,
    read_modules,
    read_rooms,
)

LAYERS = (
    {"app"},
    {"pipeline", "observability"},
    {"features", "answer"},
    {"tiles"},
    {"ingest", "stores"},
    {"lake"},
    {"aws", "deadline", "plan", "settings"},
    {"definitions"},
)
"""Rooms from the top floor down; a room imports only from floors below its own."""

ONLY_IN = {
    "obstore": {"lake"},
    "ctypes": {"ingest"},
    "numpy": {"ingest"},
    "polars": {"definitions", "lake", "ingest", "tiles", "features", "stores", "pipeline", "answer", "app"},
    "pandas": set(),
    "machine_features": set(),
    "local": set(),
    "boto3": set(),
}
"""Which rooms may import a package from outside."""

PURE = ("definitions", "plan.py", "tiles/build.py", "tiles/groups.py", "tiles/merge.py", "tiles/hours.py",
        "tiles/manifest.py", "features/rows.py", "features/windows.py", "features/statistics.py")  # fmt: skip
IMPURE = {"handler.lake", "handler.stores", "handler.aws", "handler.settings", "os", "time", "socket", "asyncio"}


def test_rooms_import_only_from_floors_below() -> None:
    floor = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    rooms = read_rooms(read_modules())
    assert set(rooms) == set(floor)
    upward = [(room, other) for room, others in rooms.items() for other in others if floor[other] <= floor[room]]
    assert upward == []


def test_house_has_at_most_8_floors_and_no_circle() -> None:
    floors = count_floors(read_rooms(read_modules()))
    assert floors["app"] == max(floors.values()) <= 8
    assert floors["definitions"] == 1


def test_no_two_modules_import_each_other_not_even_inside_functions() -> None:
    assert find_circles(keep_own_imports(read_modules())) == []


def test_circles_are_found() -> None:
    assert find_circles({"a": {"b"}, "b": {"a", "c"}, "c": {"c"}, "d": {"a"}}) == [["a", "b", "a"], ["c", "c"]]
    with pytest.raises(ValueError, match="cycle"):
        count_floors({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_package_is_imported_only_where_it_belongs(package: str) -> None:
    rooms = {
        name.partition(".")[0]
        for name, imports in read_modules().items()
        if package in {each.partition(".")[0] for each in imports}
    }
    assert rooms <= ONLY_IN[package]


def test_definitions_and_the_arithmetic_reach_no_input_or_output() -> None:
    for place in PURE:
        paths = (HANDLER / place).rglob("*.py") if (HANDLER / place).is_dir() else [HANDLER / place]
        for path in paths:
            reached = {name for name in list_imports(path) if any(f"{name}.".startswith(f"{bad}.") for bad in IMPURE)}
            assert reached == set(), path


def test_package_is_a_docstring_that_maps_its_files() -> None:
    for path in HANDLER.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        text = ast.get_docstring(ast.Module(body, [])) or ""
        names = {each.stem for each in path.parent.glob("*.py")} | {
            each.parent.name for each in path.parent.glob("*/__init__.py")
        }
        assert [name for name in sorted(names - {"__init__"}) if f"``{name}``" not in text] == [], path


def test_other_packages_of_the_standard_library_are_known() -> None:
    """A misspelt or unlisted dependency of the function would only show in Lambda."""
    outside = {each.partition(".")[0] for imports in read_modules().values() for each in imports}
    known = {"handler", "awscrt", "polars", "obstore", "numpy", "orjson", "aws_lambda_powertools", "botocore"}
    assert outside - set(sys.stdlib_module_names) <= known


def test_the_decoder_is_the_one_piece_of_c() -> None:
    sources = [path for path in HANDLER.rglob("*") if path.suffix in {".c", ".h"}]
    assert {path.parent.name for path in sources} == {"ingest"}
    assert [path.name for path in sources if path.suffix == ".c"] == ["decoder.c"]
    assert count_lines(".c", ".h") <= 850
