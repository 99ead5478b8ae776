"""The layer's bill of materials, in CycloneDX 1.6: its distributions, and what their own bills say is inside them."""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from layer_build.errors import WheelError
from layer_build.manifest import Content

_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's for URLs
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""SPDX's names of licences that PyPI calls otherwise. "BSD License" may be any of several."""


@dataclass(frozen=True, slots=True)
class Inside:
    """The libraries and crates inside a distribution, as the distribution says itself.

    Attributes
    ----------
    components
        CycloneDX components; the ``bom-ref`` of each is its ``purl``.
    depends
        What each depends on, by these. The distribution's own stand under ``""``.
    """

    components: Sequence[Mapping[str, Any]] = ()
    depends: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_inside(files: Mapping[str, bytes]) -> Inside:
    """Read the CycloneDX bills that lie in a wheel, where PEP 770 puts them.

    Parameters
    ----------
    files
        Bytes by path in the site folder. A bill in another format is passed over.

    Returns
    -------
    Inside
        The components of all of the wheel's bills. The paths of the machine that built the wheel are gone.

    Raises
    ------
    WheelError
        If a bill cannot be read.
    """
    components: dict[str, Mapping[str, Any]] = {}
    depends: dict[str, set[str]] = {}
    for path in sorted(files):
        if not re.fullmatch(r"[^/]+\.dist-info/sboms/.+\.json", path):
            continue
        try:
            bill = json.loads(files[path])
            if bill.get("bomFormat") != "CycloneDX":
                continue
            names = {bill["metadata"]["component"]["bom-ref"]: ""}
            names |= {component["bom-ref"]: component["purl"] for component in bill["components"]}
            for component in bill["components"]:
                components.setdefault(component["purl"], {**component, "bom-ref": component["purl"]})
            for entry in bill.get("dependencies", ()):
                needed = (names[ref] for ref in entry.get("dependsOn", ()))
                depends.setdefault(names[entry["ref"]], set()).update(needed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WheelError(f"{path} is no CycloneDX bill of materials that can be read: {error!r}") from None
    return Inside(tuple(components.values()), {ref: sorted(needed) for ref, needed in depends.items()})


def describe_layer(contents: Sequence[Content], insides: Mapping[str, Inside], digest: str) -> dict[str, Any]:
    """Make the layer's bill; equal for equal layers, so without a time.

    Parameters
    ----------
    contents
        The distributions.
    insides
        By a distribution's name, its own bills. A component that two have is listed once.
    digest
        The layer's SHA-256.

    Returns
    -------
    dict of str to Any
        The document, to be written as JSON.
    """
    components: dict[str, Mapping[str, Any]] = {}
    depends: dict[str, set[str]] = {"pandas_layer": set()}
    for content in contents:
        purl = f"pkg:pypi/{content.name.lower().replace('_', '-')}@{content.version}"
        components[purl] = {
            "type": "library",
            "bom-ref": purl,
            "name": content.name,
            "version": content.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": content.sha256}],
            "licenses": _describe_licence(content.licence),
        }
        depends["pandas_layer"].add(purl)
        inside = insides.get(content.name, Inside())
        for component in inside.components:
            components.setdefault(component["bom-ref"], component)
        for ref, needed in inside.depends.items():
            depends.setdefault(ref or purl, set()).update(needed)
    layer = {"type": "application", "name": "pandas_layer", "hashes": [{"alg": "SHA-256", "content": digest}]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {"component": {**layer, "bom-ref": "pandas_layer"}},
        "components": list(components.values()),
        "dependencies": [_depend(ref, needed) for ref, needed in depends.items()],
    }


def _depend(ref: str, needed: Iterable[str]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": sorted(needed)}


def _describe_licence(text: str) -> list[dict[str, Any]]:
    """Give an SPDX expression as one, and classifiers by SPDX's names where they have one."""
    try:
        return [{"expression": canonicalize_license_expression(text)}]
    except InvalidLicenseExpression:
        names = text.split(", ")
        return [{"license": {"id": _CLASSIFIERS[name]} if name in _CLASSIFIERS else {"name": name}} for name in names]
