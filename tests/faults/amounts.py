"""How much is done on purpose: a little in ``make verify``, all of it in ``make faults``."""

import os

IS_FULL = os.environ.get("FAULTS") == "full"
KILLS = 100 if IS_FULL else 5
INTERLEAVINGS = 50 if IS_FULL else 3
NETWORK_SEEDS = 30 if IS_FULL else 1
FUZZ_SECONDS = 300 if IS_FULL else 4
HOSTILE_SHARE = 1.0 if IS_FULL else 0.01
MACHINES = 50_000 if IS_FULL else 200
OBJECTS = 100_000 if IS_FULL else 500
