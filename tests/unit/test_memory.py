"""What allocators are told."""

import json
import subprocess
import sys

import pytest

from handler import memory
from tests.benchmarks.servers import ROOT
from tests.harness import environment_without_python

RETAINED = """
import ctypes, json, os, re, sys
import handler, polars
from handler.memory import give_back
def resident(): return int(re.search(r"VmRSS:\\s+([0-9]+)", open("/proc/self/status").read())[1])
blocks = [bytes(1000) for _ in range(100_000)]
full = resident()
del blocks[:-1]
held = resident()
give_back()
print(json.dumps({"jemalloc": os.environ["_RJEM_MALLOC_CONF"], "full": full, "given": held - resident()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator that is told")
def test_free_memory_goes_back_and_a_choice_of_the_users_stays() -> None:
    environment = {**environment_without_python(), "_RJEM_MALLOC_CONF": "dirty_decay_ms:7"}
    done = subprocess.run(
        [sys.executable, "-c", RETAINED], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["jemalloc"].endswith("dirty_decay_ms:7")  # Polars puts its own before it
    assert "narenas" not in told["jemalloc"]
    assert told["given"] > 50_000  # kB, of 100,000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    memory.keep_little()
    memory.give_back()
