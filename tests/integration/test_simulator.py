"""The simulated plant, run as its schedule would, against the exact reference."""

import polars as pl
import pytest

from handler.ingest.classes import REASONS, TOO_LONG
from local.simulate import Plant, simulate_hours
from tests import reference
from tests.harness import HOUR, check_sums
from tests.integration.conftest import SimulatedPlant


@pytest.fixture(scope="module")
def account(simulated: SimulatedPlant) -> reference.Account:
    return reference.read_lake(simulated.pipeline.root)


def test_every_line_is_in_the_class_the_reference_puts_it_in(
    simulated: SimulatedPlant, account: reference.Account
) -> None:
    answers = simulated.answers
    for answer in answers:
        check_sums(answer)
    totals = {name: sum(a["lines"][name] for a in answers) for name in answers[0]["lines"] if name != "rejected"}
    assert totals == {
        "read": account.lines,
        "accepted": account.accepted,
        "failures": account.failures,
        "duplicates": account.duplicates,
        "late": account.late,
        "too_late": account.too_late,
        "unknown_fields": account.unknown_fields,
    }
    rejected: dict[str, int] = {}
    for answer in answers:
        for reason, count in answer["lines"]["rejected"].items():
            rejected[reason] = rejected.get(reason, 0) + count
    assert rejected == dict(account.rejected)
    assert sum(a["objects"]["unreadable"] for a in answers) == account.unreadable == 1


def test_simulation_has_everything_a_plant_has(account: reference.Account) -> None:
    assert set(account.rejected) == set(REASONS) - {TOO_LONG}
    assert account.failures == 1
    assert account.skipped == 1
    for count in (account.duplicates, account.late, account.too_late, account.unknown_fields):
        assert count > 10


@pytest.mark.parametrize("hours", [1, 6, 12, 13, 24, 30])
def test_features_agree_with_the_reference(simulated: SimulatedPlant, account: reference.Account, hours: int) -> None:
    as_of = simulated.plant.start + hours * HOUR
    assert (
        reference.compare_rows(simulated.pipeline.rows_at(as_of), reference.compute_rows(account.readings, as_of)) == []
    )


def test_online_items_are_the_rows_of_the_last_run(simulated: SimulatedPlant) -> None:
    assert simulated.pipeline.online_rows() == simulated.pipeline.rows_at(simulated.plant.end)


def test_degrading_machine_climbs_to_zone_d_and_fails(simulated: SimulatedPlant) -> None:
    machine = f"PUMP-A{simulated.plant.machines:02d}"
    zones = [
        simulated.pipeline.rows_at(simulated.plant.start + h * HOUR)[machine]["vibration_rms_zone"]
        for h in range(1, 31)
    ]
    assert zones[0] in "AB"
    assert zones == sorted(zones)
    assert zones[-1] == "D"
    failures = simulated.pipeline.read_processed("failures")
    assert failures.select("machine_id", "codigo_evento").rows() == [(machine, "FALHA_VIBRACAO_ELEVADA")]


def test_equal_seeds_simulate_equal_bytes() -> None:
    small = Plant(machines=2, hours=2)
    assert list(simulate_hours(small)) == list(simulate_hours(small))
    assert list(simulate_hours(Plant(machines=2, hours=2, seed=8))) != list(simulate_hours(small))


def test_training_set_joins_failures_at_the_points_in_time(simulated: SimulatedPlant) -> None:
    """What a data scientist does with the outputs: label each row by a failure within the next six hours."""
    rows = pl.concat(simulated.pipeline.training().values())
    failures = simulated.pipeline.read_processed("failures").sort("event_timestamp")
    labelled = rows.sort("event_timestamp").join_asof(
        failures.select("machine_id", "event_timestamp", "codigo_evento"),
        on="event_timestamp", by="machine_id", strategy="forward", tolerance="6h", check_sortedness=False,
    )  # fmt: skip
    assert labelled["codigo_evento"].drop_nulls().to_list() == ["FALHA_VIBRACAO_ELEVADA"] * 6
