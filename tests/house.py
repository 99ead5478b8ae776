"""The handler's house, read off its sources: rooms, floors, circles, lines."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
HANDLER = ROOT / "handler"

Imports = Mapping[str, set[str]]


def list_imports(path: Path) -> Iterator[str]:
    """List what a module imports, also inside functions; a name of ours as the module that holds it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            yield node.module


def read_modules() -> Imports:
    """Read each module's imports, by its name without the package's."""
    modules = {}
    for path in sorted(HANDLER.rglob("*.py")):
        name = ".".join(path.relative_to(HANDLER).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = set(list_imports(path))
    return modules


def read_rooms(modules: Imports) -> Imports:
    """Read which rooms of the handler each room imports from."""
    rooms: dict[str, set[str]] = {}
    for name, imports in modules.items():
        room = name.partition(".")[0]
        found = {each.split(".")[1] for each in imports if each.startswith("handler.")}
        rooms.setdefault(room, set()).update(found - {room})
    rooms.pop("__init__", None)
    return rooms


def keep_own_imports(modules: Imports) -> Imports:
    """Keep of each module's imports those of the handler's own modules."""
    named = {f"handler.{name}": imports for name, imports in modules.items()}
    return {name: {each for each in imports if each in named} for name, imports in named.items()}


def find_circles(graph: Imports) -> list[list[str]]:
    """Find imports that lead back to where they began, one circle after the other, each opened when it is found."""
    rest = {name: set(others) for name, others in graph.items()}
    circles: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(rest).prepare()
        except CycleError as error:
            circle = error.args[1]
            circles.append(circle)
            rest[circle[1]].discard(circle[0])
        else:
            return circles


def count_floors(rooms: Imports) -> dict[str, int]:
    """Count floors from 1: a room stands above every room it imports from; raises where rooms go round in a circle."""
    floors: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        floors[room] = 1 + max((floors[below] for below in rooms.get(room, ())), default=0)
    return floors


def count_lines(*suffixes: str) -> int:
    """Count the lines of the handler's files with these endings."""
    return sum(
        path.read_text(encoding="utf-8").count("\n") for path in HANDLER.rglob("*") if path.suffix in set(suffixes)
    )
