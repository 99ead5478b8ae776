"""The house: what stands on what, counted from the imports themselves, those inside functions too."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANDLER = ROOT / "handler"
MOST_FLOORS = 8

Graph = Mapping[str, set[str]]


@cache
def read_imports() -> Graph:
    """Read which modules of the handler each module imports, wherever in the module it does."""
    files = {name_module(path): path for path in HANDLER.rglob("*.py")}
    return {name: set(find_imports(path, files)) - {name} for name, path in files.items()}


def name_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def find_imports(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module in files:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else node.module for name in names)


def gather_rooms(modules: Graph) -> Graph:
    """Make the graph of rooms, a room being what lies directly in ``handler/``."""
    rooms: dict[str, set[str]] = {}
    for module, imported in modules.items():
        if module != "handler":
            room = module.split(".")[1]
            rooms.setdefault(room, set()).update(
                {name.split(".")[1] for name in imported if name != "handler"} - {room}
            )
    return rooms


def find_circles(graph: Graph) -> set[str]:
    """Find what imports itself by way of others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            fresh = graph.get(waiting.pop(), set()) - seen
            seen |= fresh
            waiting += fresh
        return seen

    return {name for name in graph if name in reach(name)}


def count_floors(graph: Graph) -> dict[str, int]:
    """Count each room's floor: 1 at the ground, and one above the highest room that it imports."""

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(below) for below in graph[name]), default=0)

    return {name: floor(name) for name in graph}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert find_circles(read_imports()) == set()


def test_no_room_imports_itself_by_way_of_others() -> None:
    assert find_circles(gather_rooms(read_imports())) == set()


def test_house_has_eight_floors_at_most() -> None:
    floors = count_floors(gather_rooms(read_imports()))
    assert floors["definitions"] == 1
    assert max(floors.values()) == floors["app"]
    assert floors["app"] <= MOST_FLOORS, sorted(floors.items(), key=lambda item: item[1])


def test_counts_see_circles_and_floors() -> None:
    assert find_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}
    assert count_floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize("path", sorted(HANDLER.rglob("__init__.py")), ids=name_module)
def test_package_says_what_is_in_it_and_does_nothing(path: Path) -> None:
    statements = ast.parse(path.read_text()).body
    assert len(statements) == 1
    assert ast.get_docstring(ast.parse(path.read_text()))
