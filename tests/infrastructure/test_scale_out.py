"""The state machine that takes a run in stages: made by variable, and what it may do."""

import json
from pathlib import Path
from typing import Any

from tests.infrastructure.cfn_lint import lint
from tests.infrastructure.conftest import Deployment
from tests.infrastructure.terraform import Terraform

ON = "-var=scale_out=true"


def test_one_variable_turns_it_on_and_off(deployed: Deployment, tmp_path: Path) -> None:
    terraform = deployed.terraform
    states, scheduler = deployed.cloud.client("stepfunctions"), deployed.cloud.client("scheduler")
    terraform.apply(ON, "-var=max_concurrency=7")
    try:
        assert terraform.plan_changes(ON, "-var=max_concurrency=7") == ""
        arn = terraform.outputs()["scaled_run_arn"]
        assert scheduler.get_schedule(Name="plant-processing")["Target"]["Arn"] == arn
        machine = json.loads(states.describe_state_machine(stateMachineArn=arn)["definition"])
        stages = machine["States"]["Run"]["Branches"][0]["States"]
        maps = [state for state in stages.values() if state["Type"] == "Map"]
        assert [state["MaxConcurrency"] for state in maps] == [7, 7, 7, 7]
        assert {state["ToleratedFailureCount"] for state in maps} == {0}
        assert {state["ItemProcessor"]["ProcessorConfig"]["Mode"] for state in maps} == {"DISTRIBUTED"}
        assert lint(describe(machine), tmp_path) == []
        del maps[0]["ItemProcessor"]["StartAt"]
        assert [found.split()[0] for found in lint(describe(machine), tmp_path)] == ["E3601"]
    finally:
        said = terraform.apply()
    moved, gone = "processing_schedule: Modifications complete", "aws_sfn_state_machine.scaled_run[0]: Destroying"
    role = "aws_iam_role_policy.scaled_run_policy[0]: Destroying"
    assert said.index(moved) < said.index(gone) < said.index(role)
    assert scheduler.get_schedule(Name="plant-processing")["Target"]["Arn"] == deployed.outputs["processing_lambda_arn"]
    assert terraform.plan_changes() == ""


def describe(machine: Any) -> dict[str, Any]:
    """Describe a state machine as CloudFormation's resource; cfn-lint checks its language."""
    role = "arn:aws:iam::123456789012:role/plant-processing-scaled-run"
    properties = {"Definition": machine, "RoleArn": role}
    return {"ScaledRun": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}


def test_off_by_default(fresh: Terraform) -> None:
    planned = fresh.plan_attributes()
    assert not [address for address in planned if "scaled_run" in address]


def test_fewer_kept_invocations_than_stages_are_refused(fresh: Terraform) -> None:
    said = fresh.refuse(ON, "-var=reserved_concurrency=10")
    assert "10 times at once" in said
    assert "40 stages" in said
