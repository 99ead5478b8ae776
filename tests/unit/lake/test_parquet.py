"""Sealed files: Parquet that every reader takes, and of which no bit changes unseen."""

import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from handler.lake.parquet import TAIL_BYTES, Seal, encode_parquet, is_whole, measure_tail, seal

FRAME = pl.DataFrame({"machine_id": ["M1", "M2"], "value": [1.5, None]})
SMALL = seal(encode_parquet(FRAME, {"what": "some rows"}), {"beside": "1"})
LARGE_FRAME = pl.DataFrame({"value": pl.int_range(100_000, eager=True).hash()})
LARGE = seal(encode_parquet(LARGE_FRAME, {"what": "many rows"}))


def test_sealed_file_is_parquet_like_any_other() -> None:
    assert_frame_equal(pl.read_parquet(io.BytesIO(SMALL)), FRAME)
    assert_frame_equal(pl.scan_parquet(LARGE).collect(), LARGE_FRAME)
    assert pl.read_parquet_metadata(io.BytesIO(SMALL))["what"] == "some rows"


@pytest.mark.verify
def test_duckdb_reads_sealed_files(tmp_path: Path) -> None:
    import duckdb

    for name, data, frame in (("small", SMALL, FRAME), ("large", LARGE, LARGE_FRAME)):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        assert duckdb.read_parquet(str(path)).fetchall() == frame.rows()


def test_seal_is_read_from_the_tail() -> None:
    assert len(SMALL) < TAIL_BYTES < len(LARGE)
    for data, what, note in ((SMALL, "some rows", {"beside": "1"}), (LARGE[-TAIL_BYTES:], "many rows", {})):
        found = Seal.read(data)
        assert found is not None
        assert (found.metadata["what"], found.note) == (what, note)


def test_every_end_of_a_file_leads_to_its_footer_and_seal() -> None:
    """Whatever has been read, what it asks for next is more, or all; the last eight bytes say how long a footer is."""
    whole = measure_tail(SMALL)
    for end in range(8, len(SMALL) + 1):
        asked = measure_tail(SMALL[-end:])
        assert asked == whole or end < asked < whole
    assert Seal.read(SMALL[-whole:].rjust(TAIL_BYTES, b"?")) == Seal.read(SMALL)
    assert measure_tail(SMALL[-7:]) == measure_tail(b"") == 0


def test_file_that_is_not_sealed_is_not_whole() -> None:
    plain = encode_parquet(FRAME)
    assert not is_whole(plain)
    assert Seal.read(plain) is None
    assert measure_tail(plain) == 0


def test_no_bit_of_a_file_changes_unseen() -> None:
    assert is_whole(SMALL)
    for place in range(8 * len(SMALL)):
        data = flip(SMALL, place)
        assert not is_whole(data)
        assert Seal.read(data) is None


def test_no_end_or_beginning_is_lost_unseen() -> None:
    for cut in range(1, len(SMALL) + 1):
        for data in (SMALL[:-cut], SMALL[cut:]):
            assert not is_whole(data)
            assert Seal.read(data) is None


@given(place=st.integers(0, 8 * len(LARGE) - 1))
def test_bit_in_a_large_file_is_seen_when_all_of_it_is_read(place: int) -> None:
    assert is_whole(LARGE)
    assert not is_whole(flip(LARGE, place))


@given(data=st.binary(max_size=200))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    for tail in (b"", b"PAR1", b"\x10\0\0\0PAR1", SMALL[-60:]):
        assert not is_whole(data + tail)
        assert Seal.read(data + tail) is None
        assert measure_tail(data + tail) >= 0


def flip(data: bytes, place: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)
