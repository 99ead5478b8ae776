"""The state machine that takes a run in stages: made by variable, and what it may do."""

import json

from tests.infrastructure.conftest import Deployment
from tests.infrastructure.terraform import Terraform

ON = "-var=scale_out=true"


def test_one_variable_turns_it_on_and_off(deployed: Deployment) -> None:
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
    finally:
        terraform.apply()
    assert scheduler.get_schedule(Name="plant-processing")["Target"]["Arn"] == deployed.outputs["processing_lambda_arn"]
    assert terraform.plan_changes() == ""


def test_off_by_default(fresh: Terraform) -> None:
    planned = fresh.plan_attributes()
    assert not [address for address in planned if "scaled_run" in address]


def test_fewer_kept_invocations_than_stages_are_refused(fresh: Terraform) -> None:
    said = fresh.refuse(ON, "-var=reserved_concurrency=10")
    assert "10 times at once" in said
    assert "40 stages" in said
