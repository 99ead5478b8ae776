"""The module against the schemas of the oldest provider that it works with, 5.100, and of a new one, 6.x."""

import json
from typing import Any

import pytest

from scripts.provider_attributes import EXTRACT, MODULE, list_uses, write_extract
from tests.tools import find_tool

CHANGED_IN_6 = {
    ("data.aws_region", "name"): "deprecated; `id` is the region's name in both",
    ("data.aws_s3_bucket", "region"): "the region it is managed in; `bucket_regional_domain_name` has the bucket's own",
}
"""Attributes of another meaning: the provider's "Version 6 Upgrade Guide", of all that the module's types have."""

USES = list_uses(json.loads(MODULE.read_text()))
KNOWN: dict[str, dict[str, list[str]]] = json.loads(EXTRACT.read_text())["attributes"]
ADVICE = "run `python -m scripts.provider_attributes`, which reads the schemas"


def test_extract_is_of_both_providers() -> None:
    oldest, newest = json.loads(EXTRACT.read_text())["providers"]
    assert oldest == "5.100.0"
    assert newest.startswith("6.")


def test_extract_has_all_that_the_module_uses() -> None:
    unknown = [(type_, path) for type_, paths in USES.items() for path in paths if path not in KNOWN.get(type_, {})]
    assert unknown == [], ADVICE


@pytest.mark.parametrize("number", [0, 1], ids=["5.100", "6"])
def test_what_the_module_sets_can_be_set_and_what_it_reads_is_there(number: int) -> None:
    wrong = []
    for type_, paths in USES.items():
        for path, use in paths.items():
            kind = KNOWN[type_][path][number]
            if kind == "absent" or (use == "set" and kind == "computed"):
                wrong.append((type_, path, use, kind))
    assert wrong == []


@pytest.mark.parametrize("number", [0, 1], ids=["5.100", "6"])
def test_the_module_sets_all_that_is_required(number: int) -> None:
    missing = [
        (type_, path)
        for type_, paths in KNOWN.items()
        for path, kinds in paths.items()
        if kinds[number] == "required" and USES[type_].get(path) != "set"
    ]
    assert missing == []


def test_the_module_reads_nothing_that_means_something_else_in_provider_6() -> None:
    assert [(type_, path) for type_, path in CHANGED_IN_6 if path in USES.get(type_, {})] == []


def test_an_attribute_that_is_gone_would_be_found() -> None:
    module: dict[str, Any] = {
        "resource": {"aws_sqs_queue": {"one": {"name": "${data.aws_region.here.name}", "dynamic": {
            "block": {"for_each": "${[]}", "content": {"inner": 1}}}}}},
        "data": {"aws_region": {"here": {}}},
    }  # fmt: skip
    assert list_uses(module) == {
        "aws_sqs_queue": {"block": "set", "block.inner": "set", "name": "set"},
        "data.aws_region": {"name": "read"},
    }


@pytest.mark.verify
def test_extract_is_what_the_bindings_say() -> None:
    find_tool("provider-5", ".ready")
    find_tool("cdktn", "bin/python")
    assert EXTRACT.read_text() == write_extract(), ADVICE
