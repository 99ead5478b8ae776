"""Answers are read whole, however they are cut, and nothing else is taken for one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.stores.connection import BadAnswerError, parse_answer

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-Amz-Crc32:  7 \r\n\r\n" + b'{"a": "b\\n"}'
CHUNKED = (
    b"HTTP/1.1 400 Bad Request\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"4;x=1\r\n{\"a\"\r\n8\r\n: \"b\\n\"}\r\n0\r\nTrailer: 1\r\n\r\n"
)  # fmt: skip


@pytest.mark.parametrize(("data", "status"), [(PLAIN, 200), (CHUNKED, 400)])
def test_answer_is_read_once_it_is_whole(data: bytes, status: int) -> None:
    for end in range(len(data)):
        assert parse_answer(data[:end]) is None
    answer = parse_answer(data)
    assert answer is not None
    assert (answer.status, answer.body, answer.is_last) == (status, b'{"a": "b\\n"}', False)


def test_headers_are_found_by_lower_case_names() -> None:
    answer = parse_answer(PLAIN)
    assert answer is not None
    assert answer.headers == {b"content-length": b"12", b"x-amz-crc32": b"7"}


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nand more",
    ],
)
def test_connection_that_ends_takes_no_further_request(data: bytes) -> None:
    answer = parse_answer(data)
    assert answer is not None
    assert answer.is_last


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswerError):
        parse_answer(data)


@given(st.binary(max_size=60), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", PLAIN[:60], CHUNKED[:60]]))
def test_no_bytes_raise_anything_but_a_bad_answer(data: bytes, start: bytes) -> None:
    with contextlib.suppress(BadAnswerError):
        parse_answer(start + data)
