import json
from dataclasses import replace

import pytest

from layer_build.bill import Inside, describe_layer, read_inside
from layer_build.errors import WheelError
from layer_build.manifest import Content

PUMP = Content("Pump_Set", "1.0", "MIT", "pump_set-1.0-py3-none-any.whl", "a" * 64, 10, 1, 1, 1, 3, 10)


def test_bill_of_materials_names_each_wheel_by_purl_hash_and_licence() -> None:
    bill = describe_layer(
        [PUMP, replace(PUMP, name="valve", licence="BSD License, MIT License, some kind")], {}, "f" * 64
    )
    first, second = bill["components"]
    assert first["purl"] == "pkg:pypi/pump-set@1.0"
    assert first["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert first["licenses"] == [{"expression": "MIT"}]
    assert second["licenses"] == [
        {"license": {"name": "BSD License"}},
        {"license": {"id": "MIT"}},
        {"license": {"name": "some kind"}},
    ]
    assert bill["dependencies"][0]["dependsOn"] == ["pkg:pypi/pump-set@1.0", "pkg:pypi/valve@1.0"]


def test_bill_is_equal_for_equal_layers_and_only_then() -> None:
    assert describe_layer([PUMP], {}, "f" * 64) == describe_layer([PUMP], {}, "f" * 64)
    assert describe_layer([PUMP], {}, "f" * 64)["serialNumber"] != describe_layer([PUMP], {}, "e" * 64)["serialNumber"]


def make_bill(*crates: str, needs: dict[str, list[str]]) -> bytes:
    """A bill as cargo-cyclonedx writes it: references are paths and registries, and not what components are called."""
    names = {"pump": "path+file:///home/builder/pump#1.0", **{crate: f"registry#{crate}" for crate in crates}}
    return json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "metadata": {"component": {"bom-ref": names["pump"], "name": "pump", "type": "library"}},
        "components": [
            {"type": "library", "name": crate, "bom-ref": names[crate], "purl": f"pkg:cargo/{crate}@1.0"}
            for crate in crates
        ],
        "dependencies": [
            {"ref": names[crate], "dependsOn": [names[other] for other in others]} for crate, others in needs.items()
        ],
    }).encode()  # fmt: skip


def test_bill_takes_in_what_the_wheels_own_bills_list() -> None:
    pump = read_inside({"p-1.dist-info/sboms/p.json": make_bill("a", "b", needs={"pump": ["a"], "a": ["b"]})})
    valve = read_inside({"v-1.dist-info/sboms/v.json": make_bill("b", "c", needs={"pump": ["b", "c"]})})
    bill = describe_layer([PUMP, replace(PUMP, name="valve")], {"Pump_Set": pump, "valve": valve}, "f" * 64)
    refs = [component["bom-ref"] for component in bill["components"]]
    crates = [f"pkg:cargo/{name}@1.0" for name in "abc"]
    assert refs == ["pkg:pypi/pump-set@1.0", crates[0], crates[1], "pkg:pypi/valve@1.0", crates[2]]
    assert {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]} == {
        "pandas_layer": ["pkg:pypi/pump-set@1.0", "pkg:pypi/valve@1.0"],
        "pkg:pypi/pump-set@1.0": [crates[0]],
        crates[0]: [crates[1]],
        "pkg:pypi/valve@1.0": [crates[1], crates[2]],
    }
    assert "builder" not in json.dumps(bill)


def test_bill_in_another_format_is_passed_over() -> None:
    assert read_inside({"p-1.dist-info/sboms/p.json": b'{"spdxVersion": "SPDX-2.3"}'}) == Inside()
    assert read_inside({"p/data.json": b"{}"}) == Inside()


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"bomFormat": "CycloneDX"}'])
def test_bill_that_cannot_be_read_ends_the_build(text: bytes) -> None:
    with pytest.raises(WheelError, match=r"p-1\.dist-info/sboms/p\.json is no CycloneDX"):
        read_inside({"p-1.dist-info/sboms/p.json": text})
