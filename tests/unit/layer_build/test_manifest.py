from dataclasses import replace

from layer_build.manifest import Content, describe_layer

PUMP = Content("Pump_Set", "1.0", "MIT", "pump_set-1.0-py3-none-any.whl", "a" * 64, 10, 1, 1, 1, 3, 10)


def test_bill_of_materials_names_each_wheel_by_purl_hash_and_licence() -> None:
    bill = describe_layer([PUMP, replace(PUMP, name="valve", licence="BSD License, some kind")], "f" * 64)
    pump, valve = bill["components"]
    assert pump["purl"] == "pkg:pypi/pump-set@1.0"
    assert pump["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert pump["licenses"] == [{"expression": "MIT"}]
    assert valve["licenses"] == [{"license": {"name": "BSD License, some kind"}}]
    assert bill["dependencies"][0]["dependsOn"] == ["pkg:pypi/pump-set@1.0", "pkg:pypi/valve@1.0"]


def test_bill_is_equal_for_equal_layers_and_only_then() -> None:
    assert describe_layer([PUMP], "f" * 64) == describe_layer([PUMP], "f" * 64)
    assert describe_layer([PUMP], "f" * 64)["serialNumber"] != describe_layer([PUMP], "e" * 64)["serialNumber"]
