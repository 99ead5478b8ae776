"""What a person sees of a build: progress, the table of sizes, and with ``--explain`` the reasons."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

_STAGES = {
    "unpacked": "unpacked",
    "pruned": "pruned",
    "stripped": "stripped",
    "emptied": "docstrings",
    "bytecode": "bytecode",
    "size": "in the layer",
}
_FULL_WIDTH = 120


@contextmanager
def show_progress(console: Console) -> Iterator[Callable[[str], object]]:
    """Show a spinner with the step where a person watches, and a line a step elsewhere."""
    if not console.is_terminal:
        yield lambda message: console.print(message, markup=False, highlight=False, soft_wrap=True)
        return
    with console.status("starting") as status:

        def report(message: str) -> None:
            console.print(f"[green]✓[/green] {message}", highlight=False)
            status.update("working")

        yield report


def show_sizes(console: Console, manifest: Mapping[str, Any]) -> None:
    """Show each distribution's bytes before and after, and the total against Lambda's limit."""
    stages = list(_STAGES) if console.width >= _FULL_WIDTH else ["unpacked", "size"]
    built = f"{manifest['target']['arch']}, Python {manifest['target']['python']}"
    table = Table("distribution", title=f"Bytes in the layer for {built}", title_justify="left")
    for stage in stages:
        table.add_column(_STAGES[stage], justify="right")
    rows = sorted(manifest["distributions"], key=lambda row: -row["size"])
    for row in rows:
        table.add_row(f"{row['name']} {row['version']}", *(_sign(stage, row[stage]) for stage in stages))
    table.add_section()
    table.add_row("layer", *(_sign(stage, sum(row[stage] for row in rows)) for stage in stages), style="bold")
    table.add_row("function", *[""] * (len(stages) - 1), f"{manifest['function']['unpacked']:,}")
    console.print(table)
    limit, left = manifest["limit"]["unpacked"], manifest["limit"]["left"]
    console.print(
        f"{limit - left:,} of the {limit:,} bytes that Lambda unpacks: {left:,} left. "
        f"Zipped: layer {manifest['layer']['zipped']:,}, function {manifest['function']['zipped']:,}.",
        highlight=False,
        soft_wrap=True,
    )
    for key in ("layer", "function"):
        console.print(f"{manifest[key]['sha256']}  {manifest[key]['file']}", highlight=False, soft_wrap=True)


def explain_sizes(console: Console, manifest: Mapping[str, Any]) -> None:
    """Show what pruning took and why, and which wheel each distribution came from."""
    reasons = Table("pruned", title="What pruning took", title_justify="left")
    reasons.add_column("bytes", justify="right")
    for reason, size in manifest["pruned"].items():
        reasons.add_row(reason, f"{size:,}")
    console.print(reasons)
    wheels = Table("wheel", "licence", title="Where it came from", title_justify="left")
    wheels.add_column("SHA-256", overflow="fold")
    for row in manifest["distributions"]:
        wheels.add_row(row["wheel"], row["licence"], row["sha256"])
    console.print(wheels)


def _sign(stage: str, size: int) -> str:
    signs = {"pruned": "-", "stripped": "-", "emptied": "-", "bytecode": "+"}
    return f"{signs.get(stage, '')}{size:,}" if size else "0"
