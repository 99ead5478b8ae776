"""A plant's telemetry, made up from a seed: what its gateways would have put into the raw lake, hour by hour."""

import gzip
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from handler.definitions.layout import partition_path

HOUR: Final = timedelta(hours=1)
_FILE_SPAN: Final = timedelta(minutes=10)
_OUTAGE: Final = (timedelta(hours=9, minutes=10), timedelta(hours=11, minutes=40), timedelta(hours=12, minutes=5))
"""One gateway is offline from the first to the second; what it kept arrives at the third."""

_REDELIVERED: Final = 0.004
_WEAR: Final = timedelta(hours=10)
_FAILURE_BEFORE_END: Final = timedelta(minutes=25)
_CODES: Final = {"worn": "FALHA_VIBRACAO_ELEVADA", "sudden": "FALHA_ELETRICA"}
_QUIET: Final = timedelta(hours=12)
"""From a repair, or the start, until a machine may begin to wear again."""

_BEYOND: Final = timedelta(hours=4)
"""So that some machines are worn when the simulation stops."""


@dataclass(frozen=True, slots=True)
class Plant:
    """What to simulate.

    Attributes
    ----------
    machines
        How many pumps there are.
    hours
        How long they run.
    interval
        Between two readings of one sensor.
    start
        A whole hour, UTC.
    seed
        Equal seeds give equal bytes.
    failures
        How many failures there are, at most as many as fit, spread over machines and time. Two thirds are announced by
        wear of 8 to 20 hours, one third come without warning. Each machine is repaired within hours. Some wear is
        found in time, and no failure follows. None: the last machine wears out and fails near the end, no other does.
    """

    machines: int = 8
    hours: int = 30
    interval: timedelta = timedelta(seconds=10)
    start: datetime = datetime(2025, 10, 15, tzinfo=UTC)
    seed: int = 7
    failures: int | None = None

    @property
    def end(self) -> datetime:
        """When the simulation stops."""
        return self.start + self.hours * HOUR


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A machine's wear up to ``time``, its failure then, if it fails, and how long it stands still."""

    time: datetime
    code: str | None
    wear: timedelta
    repair: timedelta
    worst: float = 1.0

    def wear_at(self, time: datetime) -> float:
        """Tell how worn the machine is: from 0 up to ``worst``."""
        return self.worst * max(0.0, 1 - (self.time - time) / self.wear)


@dataclass(frozen=True, slots=True)
class _Message:
    arrival: datetime
    sensor: str
    payload: bytes


def simulate_hours(plant: Plant) -> Iterator[tuple[datetime, dict[str, bytes]]]:
    """Yield each hour of arrival with the raw objects of its partition, by key.

    Among the good lines are redelivered ones, readings that arrive hours late, a few that arrive more than a day late,
    and unknown fields. There are bad lines of every reason but ``too_long``, an object cut off in mid-gzip and one that
    is no telemetry. A worn machine's vibration climbs through the zones until it fails and falls silent.
    """
    chance = random.Random(plant.seed)
    troubles = _plan_troubles(plant)
    messages: dict[datetime, list[_Message]] = {plant.start + h * HOUR: [] for h in range(plant.hours)}
    for number in range(plant.machines):
        for message in _simulate_machine(plant, number, troubles[number]):
            if message.arrival < plant.end:
                messages[message.arrival.replace(minute=0, second=0, microsecond=0)].append(message)
    for index, (hour, first_time) in enumerate(messages.items()):
        again = [message for message in first_time if chance.random() < _REDELIVERED]
        arrived = [*first_time, *again, *_make_bad_messages(hour, index, chance)]
        yield hour, _write_objects(hour, sorted(arrived, key=lambda message: message.arrival), index)


def _plan_troubles(plant: Plant) -> list[list[_Trouble]]:
    """Plan what befalls each machine, in the order of time."""
    troubles: list[list[_Trouble]] = [[] for _ in range(plant.machines)]
    if plant.failures is None:
        troubles[-1].append(_Trouble(plant.end - _FAILURE_BEFORE_END, _CODES["worn"], _WEAR, plant.hours * HOUR))
        return troubles
    chance = random.Random(f"{plant.seed}/failures")
    planned = 0
    for _ in range(20 * plant.failures):
        if planned == plant.failures:
            break
        wear = timedelta(hours=chance.uniform(8, 20))
        kind = chance.choice(["worn", "worn", "sudden", "found in time"])
        trouble = _Trouble(
            plant.start + (wear + _QUIET) + chance.random() * (plant.hours * HOUR + _BEYOND - wear - _QUIET),
            _CODES.get(kind),
            wear,
            timedelta(hours=chance.uniform(2, 6)),
            {"worn": 1.0, "sudden": 0.0}.get(kind, chance.uniform(0.3, 0.8)),
        )
        own = troubles[chance.randrange(plant.machines)]
        spaced = all(abs(each.time - trouble.time) > wear + each.wear + each.repair + _QUIET for each in own)
        if spaced:
            own.append(trouble)
            planned += trouble.code is not None and trouble.time < plant.end
    return [sorted(own, key=lambda each: each.time) for own in troubles]


def _simulate_machine(plant: Plant, number: int, troubles: list[_Trouble]) -> Iterator[_Message]:
    chance = random.Random(f"{plant.seed}/{number}")
    machine = f"PUMP-A{number + 1:02d}"
    warmth, shake = chance.uniform(58, 74), chance.uniform(0.9, 2.1)
    drift = 0.0
    time = plant.start + timedelta(milliseconds=chance.randrange(10_000))
    coming = iter(troubles)
    trouble = next(coming, None)
    while time < plant.end:
        if trouble is not None and time >= trouble.time:
            if trouble.code is not None:
                arrival = trouble.time + timedelta(seconds=2)
                event = {"codigo_evento": trouble.code}
                yield _Message(arrival, "failure", _encode(machine, "failure", trouble.time, arrival, event))
            time += trouble.repair
            trouble = next(coming, None)
            continue
        hours = (time - plant.start) / HOUR
        wear = 0.0 if trouble is None else trouble.wear_at(time)
        drift = 0.995 * drift + chance.gauss(0, 0.05)
        temperature = warmth + 4 * math.sin(hours / 24 * math.tau) + drift + 18 * wear**2 + chance.gauss(0, 0.15)
        vibration = abs(shake * math.exp(2.2 * wear) + 0.1 * drift + chance.gauss(0, 0.08))
        for sensor, field, value in (
            ("temperature", "temperature_celsius", round(temperature, 2)),
            ("vibration", "vibration_rms", round(vibration, 3)),
        ):
            extra = {"pressure_bar": round(chance.uniform(5, 7), 2)} if number == 1 and chance.random() < 0.01 else {}
            sent = time + timedelta(milliseconds=chance.randrange(1000))
            arrival = _deliver(plant, number, sent) + timedelta(milliseconds=chance.randint(40, 900))
            yield _Message(arrival, sensor, _encode(machine, sensor, sent, arrival, {field: value, **extra}))
        time += plant.interval


def _deliver(plant: Plant, number: int, sent: datetime) -> datetime:
    """Say when a reading reaches the lake: at once, after an outage, or a day and more later."""
    since_start = sent - plant.start
    if number == 2 and _OUTAGE[0] <= since_start < _OUTAGE[1]:
        return plant.start + _OUTAGE[2] + (since_start - _OUTAGE[0]) / 100
    if number == 3 and timedelta(hours=2) <= since_start < timedelta(hours=2, minutes=4):
        return sent + timedelta(hours=26)
    return sent


def _encode(machine: str, sensor: str, sent: datetime, arrival: datetime, fields: dict[str, Any]) -> bytes:
    kind = "event" if sensor == "failure" else "telemetry"
    return orjson.dumps(
        {
            "machine_id": machine,
            "timestamp_utc": _format_millis(sent),
            **fields,
            "sensor_type": sensor,
            "mqtt_topic": f"industrial/machine/{machine}/{kind}/{sensor}",
            "ingestion_timestamp": _format_millis(arrival),
        }
    )


def _format_millis(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"


def _make_bad_messages(hour: datetime, index: int, chance: random.Random) -> list[_Message]:
    """Make three bad lines an hour, so that every reason comes round."""
    good = {"machine_id": "PUMP-A01", "timestamp_utc": _format_millis(hour + timedelta(minutes=1))}
    bad = [
        b'{"machine_id":"PUMP-A01","timestamp_utc":"2025-10-',
        b'{"machine_id":"PUMP-A01","temperature_celsius":NaN}',
        b"\xff\xfe\x00garbage",
        b'["PUMP-A01", 70.1]',
        orjson.dumps({"timestamp_utc": good["timestamp_utc"], "vibration_rms": 1.0}),
        orjson.dumps({"machine_id": "PUMP-A01", "vibration_rms": 1.0}),
        orjson.dumps(good | {"timestamp_utc": "15/10/2025 09:00", "vibration_rms": 1.0}),
        orjson.dumps(good | {"codigo_evento": ["FALHA_VIBRACAO_ELEVADA"]}),
        orjson.dumps(good | {"sensor_type": "vibration"}),
        orjson.dumps(good | {"temperature_celsius": "70,1"}),
        orjson.dumps(good | {"temperature_celsius": 9999.0}),
        orjson.dumps(good | {"timestamp_utc": _format_millis(hour + 3 * HOUR), "vibration_rms": 1.0}),
    ]
    return [
        _Message(hour + timedelta(seconds=chance.randrange(3600)), "vibration", bad[(3 * index + i) % len(bad)])
        for i in range(3)
    ]


def _write_objects(hour: datetime, messages: list[_Message], index: int) -> dict[str, bytes]:
    folder = f"raw/{partition_path(hour)}"
    groups: dict[tuple[str, datetime], list[bytes]] = {}
    for message in messages:
        opened = hour + (message.arrival - hour) // _FILE_SPAN * _FILE_SPAN
        groups.setdefault((message.sensor, opened), []).append(message.payload)
    objects: dict[str, bytes] = {}
    for (sensor, opened), payloads in sorted(groups.items()):
        key = f"{folder}/{sensor}_reading_{int(opened.timestamp() * 1000)}.jsonl"
        data = b"\n".join(payloads) + b"\n"
        if sensor == "temperature":
            key, data = key + ".gz", gzip.compress(data, mtime=0)
        objects[key] = data
    if index == 4:
        objects[f"{folder}/temperature_reading_cut_off.jsonl.gz"] = gzip.compress(
            b'{"machine_id":"PUMP-A01"}', mtime=0
        )[:-9]
    if index == 5:
        objects[f"{folder}/_manifest.txt"] = b"not telemetry\n"
    return objects
