"""Write what the module uses of providers 5 and 6: ``python -m scripts.provider_attributes``.

The bindings' packages on PyPI hold each provider's schema: the one of CDK Terrain a provider 6, an older one of cdktf
5.100. Both are locked by hash and have environments of their own below ``.tools/``. The result,
``tests/data/provider_attributes.json``, is small, and a test needs nothing else.
"""

import base64
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "modules" / "processing" / "main.tf.json"
EXTRACT = ROOT / "tests" / "data" / "provider_attributes.json"
ARCHIVES: Final = (
    "provider-5/cdktf_cdktf_provider_aws/_jsii/*.tgz",
    "cdktn/lib/python*/site-packages/cdktn_provider_aws/_jsii/*.tgz",
)
"""The packages' archives below ``.tools/``."""
_META: Final = {"//", "count", "depends_on", "lifecycle", "provider", "override_provider", "for_each"}
_MAPS: Final = {"dimensions", "parameters", "variables"}
_REFERENCE: Final = re.compile(r"\b(data\.)?(aws_[a-z0-9_]+)\.[a-z0-9_]+(?:\[[^\]]*\])?\.([a-z0-9_]+)")
_CLASS: Final = re.compile(r"^export class (\w+) extends \w+\.(\w+)", re.MULTILINE)
_ATTRIBUTE: Final = re.compile(
    r"^ *// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(?: *private _\w+ = new (\w+)\()?", re.MULTILINE
)

Uses = dict[str, dict[str, str]]
"""By type, ``data.aws_s3_bucket`` for one: the path of each attribute that is ``set`` or ``read``."""
Schema = dict[str, str]
"""By path: ``required``, ``optional``, ``computed`` or ``optional computed``."""


def list_uses(module: Mapping[str, Any]) -> Uses:
    """List the attributes that a module sets and those that it only reads.

    Parameters
    ----------
    module
        The module, as Terraform reads it.

    Returns
    -------
    Uses
        Sorted.
    """
    uses: Uses = {}
    for prefix, kind in (("", "resource"), ("data.", "data")):
        for type_, resources in module[kind].items():
            for body in resources.values():
                uses.setdefault(prefix + type_, {}).update(dict.fromkeys(_list_paths(body), "set"))
    for data, type_, attribute in _REFERENCE.findall(json.dumps(module)):
        uses[data + type_].setdefault(attribute, "read")
    return {type_: dict(sorted(paths.items())) for type_, paths in sorted(uses.items())}


def _list_paths(body: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in body.items():
        if name in _META:
            continue
        if name == "dynamic":
            blocks = {block: [one["content"] for one in _as_list(made)] for block, made in value.items()}
            yield from _list_paths(blocks, prefix)
            continue
        yield f"{prefix}{name}"
        for item in _as_list(value):
            if isinstance(item, dict) and name not in _MAPS:
                yield from _list_paths(item, f"{prefix}{name}.")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_schemas(archive: Path, types: Mapping[str, Any]) -> tuple[str, dict[str, Schema]]:
    """Read the schemas of some types out of a package of bindings.

    Parameters
    ----------
    archive
        The package's archive of compiled code.
    types
        Whose, as in :data:`Uses`.

    Returns
    -------
    tuple
        The provider's version, and schemas by type.
    """
    folders = {type_.replace("data.", "data-").replace("aws_", "aws-" if "data." in type_ else "", 1): type_
               for type_ in types}  # fmt: skip
    paths = {f"package/lib/{folder.replace('_', '-')}/index.js": type_ for folder, type_ in folders.items()}
    schemas, version = {}, ""
    with tarfile.open(archive) as members:
        for member in members:
            if member.name in paths and (file := members.extractfile(member)):
                source = _read_source(file.read().decode())
                schemas[paths[member.name]] = _read_schema(source)
                version = re.findall(r"providerVersion: '([^']+)'", source)[0]
    return version, schemas


def _read_source(compiled: str) -> str:
    """Read the TypeScript, which the map behind the compiled code holds."""
    encoded = re.findall(r"sourceMappingURL=data:application/json;base64,(\S+)", compiled)[0]
    return str(json.loads(base64.b64decode(encoded))["sourcesContent"][0])


def _read_schema(source: str) -> Schema:
    starts = [*_CLASS.finditer(source)]
    ends = [*(match.start() for match in starts[1:]), len(source)]
    bodies = {match[1]: source[match.end() : end] for match, end in zip(starts, ends, strict=True)}
    (root,) = (match[1] for match in starts if match[2] in ("TerraformResource", "TerraformDataSource"))

    def list_attributes(name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
        for attribute, computed, optional, required, block in _ATTRIBUTE.findall(bodies[name]):
            kinds = {"required": required, "optional": optional, "computed": computed}
            yield f"{prefix}{attribute}", " ".join(kind for kind, is_so in kinds.items() if is_so == "true")
            inner = re.sub("(List|OutputReference)?$", "OutputReference", block, count=1)
            if inner in bodies:
                yield from list_attributes(inner, f"{prefix}{attribute}.")

    return dict(list_attributes(root))


def write_extract() -> str:
    """Write what the module uses, as the installed bindings know it, and what it would have to set."""
    uses = list_uses(json.loads(MODULE.read_text(encoding="utf-8")))
    schemas = dict(read_schemas(next((ROOT / ".tools").glob(archive)), uses) for archive in ARCHIVES)
    attributes = {
        type_: {
            path: [schema[type_].get(path, "absent") for schema in schemas.values()]
            for path in sorted({*paths, *(p for s in schemas.values() for p in _list_required(s[type_], paths))})
        }
        for type_, paths in uses.items()
    }
    lines = json.dumps({"providers": list(schemas), "attributes": attributes}, indent=1)
    return re.sub(r'\[\s+("[^"]*"),\s+("[^"]*")\s+\]', r"[\1, \2]", lines) + "\n"


def _list_required(schema: Schema, used: Mapping[str, str]) -> Iterator[str]:
    """List the required attributes of a type and of those of its blocks that are used."""
    for path, kind in schema.items():
        block = path.rpartition(".")[0]
        if kind == "required" and (not block or used.get(block) == "set"):
            yield path


if __name__ == "__main__":
    EXTRACT.write_text(write_extract(), encoding="utf-8")
    sys.stdout.write(f"{EXTRACT.relative_to(ROOT)}\n")
