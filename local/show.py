"""What a person sees of a local run: progress, the accounting, the newest features, where the files lie."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from handler.definitions.spec import FeatureSpec
from machine_features.online import KEPT_ITEMS
from machine_features.visible import make_visible

_SHOWN = ("mean", "slope_per_hour")
_ZONE_STYLES = {"A": "green", "B": "cyan", "C": "yellow", "D": "bold red"}


class Steps(Protocol):
    """Told how far a piece of work is."""

    def advance(self, message: str, amount: int = 1) -> None:
        """Take note that something is done."""
        ...


class _Bar:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=total)

    def advance(self, message: str, amount: int = 1) -> None:
        self._progress.update(self._task, advance=amount, description=make_visible(message))


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def advance(self, message: str, amount: int = 1) -> None:
        self._done += amount
        if amount:
            text = f"[{self._done}/{self._total}] {make_visible(message)}"
            self._console.print(text, markup=False, highlight=False)


def show_text(console: Console, text: str) -> None:
    """Print a line as it is: brackets in it are no markup, and it acts on no terminal."""
    console.print(make_visible(text), markup=False, soft_wrap=True)


@contextmanager
def show_steps(console: Console, total: int) -> Iterator[Steps]:
    """Show a progress bar where a person watches, and plain lines elsewhere."""
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, total)


def show_accounting(console: Console, answers: Sequence[Mapping[str, Any]]) -> None:
    """Print a row a run: what it read, what became of the lines, what it built and wrote."""
    table = Table(title="What each run did", title_justify="left")
    for name in ("as of", "lines", "accepted", "failures", "duplicates", "rejected", "late", "too late",
                 "tiles built", "tiles reused", "training rows", "items", "ms"):  # fmt: skip
        table.add_column(
            name.replace(" ", "\n") if name != "as of" else name, justify="left" if name == "as of" else "right"
        )
    for answer in answers:
        lines = answer["lines"]
        rejected = sum(lines["rejected"].values())
        numbers = (
            lines["read"], lines["accepted"], lines["failures"], lines["duplicates"], rejected, lines["late"],
            lines["too_late"], answer["tiles"]["built"], answer["tiles"]["reused"], answer["training"]["rows"],
            answer["online"]["written"], answer["duration_ms"],
        )  # fmt: skip
        table.add_row(answer["as_of"], *(f"{number:,}" for number in numbers))
    console.print(table)
    reasons: dict[str, int] = {}
    for answer in answers:
        for reason, count in answer["lines"]["rejected"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    objects = {name: sum(answer["objects"][name] for answer in answers) for name in ("read", "unreadable")}
    skipped = max(answer["objects"]["skipped"] for answer in answers)
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "nothing"
    console.print(f"Rejected, kept in quarantine: {listed}")
    console.print(f"Objects: {objects['read']:,} read, {objects['unreadable']} unreadable, {skipped} skipped")


def show_features(console: Console, items: Sequence[Mapping[str, Any]], spec: FeatureSpec) -> None:
    """Print a row a machine: the newest features as they lie in the table."""
    window = spec.windows[0].label
    as_of = max((str(item["event_timestamp"]) for item in items), default="never")
    title = Text(make_visible(f"Newest features, from the table, as of {as_of}"))
    table = Table(title=title, title_justify="left")
    table.add_column("machine")
    for reading in spec.readings:
        for stat in _SHOWN:
            table.add_column(f"{reading.name}\n{stat}_{window}", justify="right")
        table.add_column(f"{reading.name}\nstaleness", justify="right")
        if reading.zone_boundaries:
            table.add_column("zone", justify="center")
    for item in items:
        cells = [Text(make_visible(str(item["machine_id"])))]
        for reading in spec.readings:
            cells += [Text(_format(item.get(f"{reading.name}_{stat}_{window}"))) for stat in _SHOWN]
            staleness = item.get(f"{reading.name}_staleness_seconds")
            cells.append(Text("-" if staleness is None else f"{float(staleness):,.0f} s"))
            if reading.zone_boundaries:
                zone = str(item.get(f"{reading.name}_zone", "-"))
                cells.append(Text(make_visible(zone), style=_ZONE_STYLES.get(zone, "dim")))
        table.add_row(*cells)
    console.print(table)


def show_files(console: Console, lake: Path, log: Path, report: Path | None) -> None:
    """Print where the files lie, and how to read them."""
    console.print("Where the files lie")
    kinds = ("training", "failures", "quarantine", "tiles", "hours")
    for folder in ("raw", *(f"processed/{kind}" for kind in kinds)):
        files = [path for path in (lake / folder).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1e6
        show_text(console, f"  {lake / folder}  {len(files):,} files, {size:,.1f} MB")
    show_text(console, f"  {lake / KEPT_ITEMS}  the table's items")
    show_text(console, f"  {log}  the function's log lines and metrics")
    console.print("Read them in Python, or with `.venv/bin/python -m machine_features`:")
    show_text(console, f'  store = machine_features.FeatureStore.open("{lake.resolve().as_uri()}")')
    console.print("In a notebook: `.venv/bin/pip install jupyterlab`, `.venv/bin/jupyter lab`, and the line above.")
    if report is not None:
        show_text(console, f"Look at the machines in a browser: {report}")


def _format(value: object) -> str:
    return "-" if value is None else f"{float(str(value)):.3f}"
