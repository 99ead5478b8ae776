"""Sizes, the lakes measured on, and the table of figures at the end."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from layer_build.target import TARGETS
from tests.benchmarks.figures import HEADINGS, Figure
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.report import Limits, find_commit, lay_out, write_report

_FIGURES = pytest.StashKey["Collected"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sizes of the benchmarks")
    group.addoption("--lines", type=int, default=1_000_000, help="raw lines (default: 1,000,000)")
    group.addoption(
        "--more-lines", type=int, default=5_000_000, help="raw lines of a larger lake; 0 for none (default: 5,000,000)"
    )
    group.addoption("--machines", type=int, default=1000, help="machines that send them (default: 1,000)")
    group.addoption("--history-machines", type=int, default=1000, help="of the lake of 30 hours (default: 1,000)")
    group.addoption("--rounds", type=int, default=5, help="runs of each side, 3 at most of what is long (default: 5)")
    group.addoption(
        "--growth", type=int, default=20, help="how many times the lines memory is measured on (default: 20)"
    )
    group.addoption("--report", type=Path, metavar="FILE", help="write the table as a page of the docs")


def _are_enabled(config: pytest.Config) -> bool:
    return bool(config.option.benchmark_enable or not config.option.benchmark_disable)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_measured: shows nothing in a run that only shows that everything works")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not _are_enabled(config):
        unmeasured = [item for item in items if item.get_closest_marker("only_measured")]
        config.hook.pytest_deselected(items=unmeasured)
        items[:] = [item for item in items if item not in unmeasured]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the defaults are those of a run that only shows that everything works."""

    lines: int = 4000
    more_lines: int = 8000
    lines_a_file: int = 1000
    machines: int = 10
    history_machines: int = 2
    history_interval: timedelta = timedelta(minutes=10)
    growth: int = 4
    objects: int = 150
    items: int = 120
    one_by_one: int = 20
    rounds: int = 1
    starts: int = 1
    architectures: tuple[str, ...] = ()
    training_hours: int = 12
    training_machines: int = 20
    entities: int = 500
    scaled_lines: int = 60_000
    part_lines: int = 4_000
    fleet: int = 300

    @property
    def few_rounds(self) -> int:
        """How often what takes long is run."""
        return min(self.rounds, 3)


@dataclass(slots=True)
class Collected:
    """What the session measured."""

    sizes: Sizes
    figures: list[Figure] = field(default_factory=list)
    limits: Limits | None = None
    commit: str = field(default_factory=find_commit)


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """Full sizes where benchmarks are enabled, as ``make bench`` does; else tiny ones."""
    options = request.config.option
    if not _are_enabled(request.config):
        return Sizes()
    return Sizes(
        lines=options.lines,
        more_lines=options.more_lines,
        lines_a_file=100_000,
        machines=options.machines,
        history_machines=options.history_machines,
        history_interval=timedelta(seconds=10),
        growth=options.growth,
        objects=5000,
        items=10_000,
        one_by_one=300,
        rounds=options.rounds,
        starts=2 * options.rounds,
        architectures=tuple(sorted(TARGETS)),
        training_hours=720,
        training_machines=1000,
        entities=1_000_000,
        scaled_lines=20 * options.lines,
        part_lines=int(1.1 * options.lines),
        fleet=50 * options.machines,
    )


@pytest.fixture(scope="session")
def collected(request: pytest.FixtureRequest, sizes: Sizes) -> Collected:
    """Where benchmarks leave their figures."""
    stash = request.config.stash
    if _FIGURES not in stash:
        stash[_FIGURES] = Collected(sizes)
    return stash[_FIGURES]


@pytest.fixture(scope="module")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a module's lakes, removed after: they are large."""
    folder = tmp_path_factory.mktemp("lakes")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lake(work_folder: Path, sizes: Sizes) -> GeneratedLake:
    """The lake most figures are measured on."""
    return generate_lake(work_folder / "clean", Fleet(sizes.machines), sizes.lines, lines_a_file=sizes.lines_a_file)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and write the page that was asked for."""
    collected = config.stash.get(_FIGURES, None)
    if collected is None or not _are_enabled(config):
        return
    terminalreporter.section("figures")
    for row in lay_out([HEADINGS, *(figure.to_cells() for figure in collected.figures)]):
        terminalreporter.write_line(row)
    page: Path | None = getattr(config.option, "report", None)
    if page is None:
        return
    failed = [name for name in ("failed", "error", "deselected", "skipped") if terminalreporter.stats.get(name)]
    if failed or collected.limits is None:
        terminalreporter.write_line(f"{page.name} is left as it was: not every figure was measured")
        return
    write_report(page, collected.figures, collected.limits, lines=collected.sizes.lines, commit=collected.commit)
    terminalreporter.write_line(f"{page.name} written")
