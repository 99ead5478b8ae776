"""What lies beside the zips: a manifest for people and programs, a CycloneDX bill of materials, the hashes."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's for URLs


@dataclass(frozen=True, slots=True)
class Content:
    """One distribution in the layer, and what became of its bytes.

    Attributes
    ----------
    name, version, licence
        As its metadata says.
    wheel, sha256
        The wheel it came from.
    unpacked, pruned, stripped, emptied, bytecode
        Bytes: of the wheel's files, taken by pruning, by stripping, by emptying docstrings, added by bytecode.
    size
        Bytes in the layer.
    """

    name: str
    version: str
    licence: str
    wheel: str
    sha256: str
    unpacked: int
    pruned: int
    stripped: int
    emptied: int
    bytecode: int
    size: int


def describe_layer(contents: Sequence[Content], digest: str) -> dict[str, Any]:
    """Make the layer's CycloneDX 1.6 bill of materials; equal for equal layers, so without a time.

    Parameters
    ----------
    contents
        The distributions.
    digest
        The layer's SHA-256.

    Returns
    -------
    dict of str to Any
        The document, to be written as JSON.
    """
    components = []
    for content in contents:
        purl = f"pkg:pypi/{content.name.lower().replace('_', '-')}@{content.version}"
        components.append({
            "type": "library",
            "bom-ref": purl,
            "name": content.name,
            "version": content.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": content.sha256}],
            "licenses": [_describe_licence(content.licence)],
        })  # fmt: skip
    layer = {"type": "application", "name": "pandas_layer", "hashes": [{"alg": "SHA-256", "content": digest}]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {"component": {**layer, "bom-ref": "pandas_layer"}},
        "components": components,
        "dependencies": [{"ref": "pandas_layer", "dependsOn": [component["bom-ref"] for component in components]}],
    }


def describe_contents(contents: Sequence[Content]) -> list[dict[str, Any]]:
    """Return the distributions as plain data."""
    return [asdict(content) for content in contents]


def _describe_licence(text: str) -> dict[str, Any]:
    """Give an SPDX expression as one, anything else by its name."""
    try:
        return {"expression": canonicalize_license_expression(text)}
    except InvalidLicenseExpression:
        return {"license": {"name": text}}
