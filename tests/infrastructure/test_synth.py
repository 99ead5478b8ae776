"""What is committed for review is what the constructs make, and holds what was agreed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.synth import (
    MODULE,
    MODULE_README,
    PICTURE,
    ROOT,
    STACK,
    Document,
    find_differences,
    read_document,
    synthesize_stack,
)

VARIABLES: dict[str, tuple[str, Any]] = {
    "project_name": ("string", None),
    "s3_bucket_name": ("string", None),
    "lambda_timeout": ("number", 300),
    "lambda_memory_size": ("number", 1024),
    "processing_schedule_expression": ("string", "rate(6 hours)"),
    "time_window_hours": ("number", 6),
    "pandas_layer_zip_path": ("string", "./lambda_artifacts/pandas_layer.zip"),
    "lambda_source_path": ("string", "./lambda_artifacts/processing_lambda.zip"),
    "tags": ("map(string)", {}),
}
OUTPUTS = {
    "processing_lambda_arn",
    "processing_lambda_function_name",
    "realtime_features_table_name",
    "realtime_features_table_arn",
    "pandas_layer_arn",
    "processing_lambda_role_arn",
}
ADDRESSES = {
    ("aws_lambda_layer_version", "pandas_layer"),
    ("aws_dynamodb_table", "realtime_features"),
    ("aws_lambda_function", "processing_lambda"),
    ("aws_iam_role", "processing_lambda_role"),
}


@pytest.fixture(params=[STACK, MODULE], ids=["stack", "module"])
def document(request: pytest.FixtureRequest) -> Document:
    return read_document(ROOT / request.param)


def test_committed_files_are_todays(synthesized: dict[Path, str]) -> None:
    differences = "\n".join(find_differences(synthesized))
    assert not differences, f"run `make synth` and commit what it writes:\n{differences}"


def test_a_stale_file_is_shown_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{\n  "a": 1\n}\n')
    made = {Path("one.json"): '{\n  "a": 2\n}\n', Path("new.json"): "{}\n"}
    first, second = find_differences(made, tmp_path)
    assert '-  "a": 1\n+  "a": 2\n' in first
    assert "+{}\n" in second


def test_no_file_depends_on_the_machine(synthesized: dict[Path, str]) -> None:
    for path in (STACK, MODULE, MODULE_README):
        text = synthesized[path]
        assert str(ROOT) not in text
        assert str(Path.home()) not in text
        assert not re.search(r'"/(?!aws/)[a-z]+/', text), f"{path} holds an absolute path"


def test_the_contracts_variables_have_their_types_and_defaults(document: Document) -> None:
    for name, (type_, default) in VARIABLES.items():
        variable = document["variable"][name]
        assert (variable["type"], variable.get("default")) == (type_, default)
    for name, variable in document["variable"].items():
        assert "default" in variable or name in ("project_name", "s3_bucket_name")


def test_the_contracts_outputs_and_addresses(document: Document) -> None:
    assert set(document["output"]) >= OUTPUTS
    addresses = {(type_, name) for type_, resources in document["resource"].items() for name in resources}
    assert addresses >= ADDRESSES
    assert "aws_s3_bucket" not in document["resource"]


def test_provider_versions(document: Document) -> None:
    provider = {"source": "hashicorp/aws", "version": ">= 5.100.0, < 7.0.0"}
    assert document["terraform"]["required_providers"] == {"aws": provider}


def test_module_has_no_provider_and_no_backend() -> None:
    module = read_document(ROOT / MODULE)
    assert "provider" not in module
    assert set(module["terraform"]) == {"required_providers", "required_version"}
    assert module["terraform"]["required_version"] == ">= 1.10.0"
    assert '"//"' not in (ROOT / MODULE).read_text()


def test_schedule_passes_its_time_unescaped() -> None:
    """Terraform's jsonencode would turn the angle brackets into escapes, which the scheduler does not know."""
    stack = read_document(ROOT / STACK)
    target = stack["resource"]["aws_scheduler_schedule"]["processing_schedule"]["target"]
    assert json.loads(target["input"]) == {"as_of": "<aws.scheduler.scheduled-time>"}
    assert "<aws.scheduler.scheduled-time>" in target["input"]


def test_state_can_be_kept_in_s3() -> None:
    state = {"bucket": "plant-state", "key": "processing.tfstate", "region": "eu-west-1"}
    stack = synthesize_stack({"state": state})
    assert stack["terraform"]["backend"] == {"s3": {**state, "encrypt": True, "use_lockfile": True}}
    assert stack["terraform"]["required_version"] == ">= 1.10.0"  # the first that knows use_lockfile


def test_picture_names_every_resource(synthesized: dict[Path, str]) -> None:
    drawn = synthesized[PICTURE]
    for type_, resources in read_document(ROOT / MODULE)["resource"].items():
        for name, body in resources.items():
            assert type_ == "aws_iam_role_policy" or "count" in body or f"{type_}<br/>" in drawn, name


def test_constructs_folder_does_not_hide_the_package_of_that_name() -> None:
    assert not (ROOT / "constructs" / "__init__.py").exists()
    import constructs

    assert constructs.Construct.__module__ == "constructs"


def test_only_bindings_imports_cdktf() -> None:
    for path in [ROOT / "main.py", *(ROOT / "constructs").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        imports = re.findall(r"^\s*(?:from|import) (cdktf|constructs\b|jsii)", path.read_text(), re.MULTILINE)
        assert not imports or path.name == "bindings.py", path
