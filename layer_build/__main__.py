"""The command line of the layer's build: ``pipenv run build``, or ``make build``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from layer_build.build import Order, build
from layer_build.cache import find_cache
from layer_build.errors import LayerBuildError
from layer_build.show import explain_sizes, show_progress, show_sizes
from layer_build.target import PYTHONS, TARGETS

ROOT: Final = Path(__file__).resolve().parents[1]
_WIDTH: Final = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status: 0, or the error's own (see :mod:`layer_build.errors`)."""
    options = _parse(arguments)
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else _WIDTH)
    order = Order(
        root=options.root,
        out=options.out,
        cache=options.cache,
        target=replace(TARGETS[options.arch], python=options.python),
        strip=options.strip,
        fresh=options.fresh,
    )
    try:
        with show_progress(console) as report:
            manifest = build(order, report)
    except LayerBuildError as error:
        print(f"layer_build: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"layer_build: {error.strerror}: {error.filename}", file=sys.stderr)
        return LayerBuildError.exit_status
    show_sizes(console, manifest)
    if options.explain:
        explain_sizes(console, manifest)
    if options.json:
        print(json.dumps(manifest))
    return 0


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the layer is for."""
    parser.add_argument("--arch", choices=sorted(TARGETS), default="x86_64", help="the function's (default: x86_64)")
    parser.add_argument("--python", choices=PYTHONS, default=PYTHONS[0], help="the runtime's (default: %(default)s)")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="layer_build", description="Build the Lambda layer and the function's package, and check that they work."
    )
    add_target(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("lambda_artifacts"), metavar="DIR", help="default: ./lambda_artifacts"
    )
    parser.add_argument("--no-strip", dest="strip", action="store_false", help="keep the libraries' symbols")
    parser.add_argument("--explain", action="store_true", help="show what was pruned and why, and the wheels")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON, all else on stderr")
    parser.add_argument("--fresh", action="store_true", help="build the layer and compile again though nothing changed")
    parser.add_argument(
        "--cache",
        type=Path,
        default=find_cache(),
        metavar="DIR",
        help="for what need not be made again (default: %(default)s)",
    )
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="the project (default: this one)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
