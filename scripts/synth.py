"""Write the deployment's files that are reviewed: ``make synth``.

``synth/`` holds the stack as ``cdktf synth`` makes it, ``modules/processing/`` the same without provider and state,
for users of HCL, and ``docs/architecture.md`` a picture of it. With ``--check`` nothing is written: what differs is
printed.
"""

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STACK = Path("synth/stacks/processing/cdk.tf.json")
MODULE = Path("modules/processing/main.tf.json")
MODULE_README = Path("modules/processing/README.md")
PICTURE = Path("docs/architecture.md")
COLUMNS = Path("constructs/processing/feature_columns.json")
TIME_ZONES = Path("constructs/processing/time_zones.json")
_PICTURE_BEGIN = "<!-- drawn by make synth -->\n"
_PICTURE_END = "<!-- end of what make synth drew -->\n"

sys.path[:0] = [str(ROOT), str(ROOT / "constructs")]

Document = dict[str, Any]


def synthesize_stack(context: Mapping[str, Any] | None = None) -> Document:
    """Run ``main.py`` as the cdktf command line does, and read what it made.

    Parameters
    ----------
    context
        In place of that of ``cdktf.json``.

    Returns
    -------
    Document
        The stack's Terraform JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        if context is None:
            context = json.loads((ROOT / "cdktf.json").read_text())["context"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TF_VAR_")}
        environment = {**inherited, "CDKTF_OUTDIR": folder, "CDKTF_CONTEXT_JSON": json.dumps(context)}
        command = [sys.executable, str(ROOT / "main.py")]
        subprocess.run(command, env=environment, cwd=folder, check=True)  # noqa: S603 - our own program
        return read_document(Path(folder) / "stacks" / "processing" / "cdk.tf.json")


def synthesize_module() -> Document:
    """Make the module for users of HCL: no provider, no backend, no notes of cdktf's."""
    from processing.module import write_module  # noqa: PLC0415 - loading the bindings takes seconds

    with tempfile.TemporaryDirectory() as folder:
        return write_module(Path(folder))


def read_document(path: Path) -> Document:
    """Read one JSON object."""
    document: Document = json.loads(path.read_text())
    return document


def describe_module(module: Document) -> str:
    """Write the module's README: requirements, inputs, outputs and resources, from the module itself."""
    needs = module["terraform"]
    lines = [
        "# The processing module",
        "",
        "For Terraform users: everything that is deployed beside the bucket. Made by `make synth` from `constructs/`;",
        "how to deploy it is in [docs/deploy.md](../../docs/deploy.md), and [examples/hcl](../../examples/hcl) has a",
        "minimal deployment, one with every choice, and two plants.",
        "",
        "```hcl",
        'module "processing" {',
        '  source         = "./modules/processing"',
        '  project_name   = "plant"',
        '  s3_bucket_name = "plant-data-lake"',
        "}",
        "```",
        "",
        "| requirement | version |",
        "|---|---|",
        f"| Terraform | `{needs['required_version']}` |",
        *(f"| provider `{each['source']}` | `{each['version']}` |" for each in needs["required_providers"].values()),
        "",
        "| variable | type | default | |",
        "|---|---|---|---|",
    ]
    for name, variable in module["variable"].items():
        default = f"`{json.dumps(variable['default'])}`" if "default" in variable else "must be given"
        lines.append(f"| `{name}` | `{variable['type']}` | {default} | {variable['description']} |")
    lines += ["", "| output | |", "|---|---|"]
    lines += [f"| `{name}` | {output['description']} |" for name, output in module["output"].items()]
    lines += ["", "| resource | name | made |", "|---|---|---|"]
    for type_, made in sorted(module["resource"].items()):
        for name, body in sorted(made.items()):
            found = re.fullmatch(r"\$\{(.+) \? 1 : 0\}", body.get("count", ""))
            lines.append(f"| `{type_}` | `{name}` | {f'where `{found[1]}`' if found else 'always'} |")
    lines += ["", "| data source | name |", "|---|---|"]
    lines += [f"| `{type_}` | `{name}` |" for type_, found in sorted(module["data"].items()) for name in sorted(found)]
    return "\n".join(lines) + "\n"


def write_columns() -> str:
    """Write the training rows' columns, in Hive's types, by the packaged features.toml."""
    from handler.definitions.schema import feature_schema  # noqa: PLC0415 - it imports Polars
    from handler.definitions.spec import FeatureSpec  # noqa: PLC0415

    types = {"Int64": "bigint", "Float64": "double", "String": "string"}
    keys = {"machine_id": "string", "event_timestamp": "timestamp", "created_timestamp": "timestamp"}
    features = {name: types[str(dtype)] for name, dtype in feature_schema(FeatureSpec.load()).items()}
    return json.dumps(list((keys | features).items()), indent=0) + "\n"


def write_time_zones() -> str:
    """Write the names of the tz database: zones that keep to one offset from UTC, and those that change it."""
    zoneinfo.reset_tzpath(())  # the locked package's, whatever the machine has
    months = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=15 * n) for n in range(48)]
    zones: dict[str, list[str]] = {"fixed": [], "changing": []}
    for name in sorted((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split()):
        zone = zoneinfo.ZoneInfo(name)
        offsets = {zone.utcoffset(month.astimezone(zone)) for month in months}
        zones["fixed" if len(offsets) == 1 else "changing"].append(name)
    return json.dumps({kind: " ".join(names) for kind, names in zones.items()}, indent=1) + "\n"


def make_files() -> dict[Path, str]:
    """Make every file, by its path below the project."""
    from processing.picture import draw_picture  # noqa: PLC0415

    stack, module = synthesize_stack(), synthesize_module()
    before, rest = (ROOT / PICTURE).read_text().split(_PICTURE_BEGIN)
    _, after = rest.split(_PICTURE_END)
    picture = f"```mermaid\n{draw_picture(module)}```\n"
    return {
        COLUMNS: write_columns(),
        TIME_ZONES: write_time_zones(),
        STACK: json.dumps(stack, indent=2, sort_keys=True) + "\n",
        MODULE: json.dumps(module, indent=2, sort_keys=True) + "\n",
        MODULE_README: describe_module(module),
        PICTURE: f"{before}{_PICTURE_BEGIN}{picture}{_PICTURE_END}{after}",
    }


def find_differences(files: Mapping[Path, str], root: Path = ROOT) -> Iterator[str]:
    """Compare the files just made with the committed ones; write a unified diff for each that differs."""
    for path, text in files.items():
        old = (root / path).read_text() if (root / path).exists() else ""
        if old != text:
            names = (f"{path} (committed)", f"{path} (of today's constructs)")
            yield "".join(difflib.unified_diff(old.splitlines(keepends=True), text.splitlines(keepends=True), *names))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="make synth", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, print what differs")
    arguments = parser.parse_args()
    if not arguments.check:  # the constructs read it
        (ROOT / COLUMNS).write_text(write_columns())
        (ROOT / TIME_ZONES).write_text(write_time_zones())
    files = make_files()
    if arguments.check:
        differences = list(find_differences(files))
        sys.stdout.writelines(differences)
        return 1 if differences else 0
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
