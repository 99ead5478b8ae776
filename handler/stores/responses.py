"""What DynamoDB's responses say: done, refused, to be tried again, or damaged on the way."""

import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

NO_CREDENTIALS: Final = "NoCredentials"
"""The code of an error on our own side: there is nothing to sign with."""

_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TRANSIENT: Final = frozenset({"RequestTimeout", "RequestTimeoutException"})
_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


class RequestError(Exception):
    """A request was refused, or not answered.

    Parameters
    ----------
    code
        The service's code; empty where it gave no code.
    message
        One line.
    is_transient
        Another attempt may help.
    is_throttled
        Requests come faster than the table takes them; another attempt may help later.
    """

    def __init__(self, code: str, message: str, *, is_transient: bool = False, is_throttled: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_transient = is_transient or is_throttled
        self.is_throttled = is_throttled


class BadAnswerError(Exception):
    """An answer is not the service's, or was damaged on its way."""


class Answer(NamedTuple):
    """A whole answer: its status, its headers by their names in lower case, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_error(answer: Answer) -> RequestError | None:
    """Read what an answer says went wrong; None where all went well.

    Parameters
    ----------
    answer
        What came back, read to its end.

    Returns
    -------
    RequestError or None
        None where the request succeeded.

    Raises
    ------
    BadAnswerError
        If the answer is not the service's, or was damaged on its way.
    """
    checksum = answer.headers.get("x-amz-crc32", "")
    if checksum.isdigit() and int(checksum) != zlib.crc32(answer.body):
        raise BadAnswerError("an answer whose checksum is another")
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if answer.status == _OK:
        if not isinstance(document, dict):
            raise BadAnswerError(f"an answer that is no JSON object: {answer.body[:40]!r}")
        return None
    code, message = _read_refusal(document if isinstance(document, dict) else {}, answer.status)
    return RequestError(
        code,
        f"An error occurred ({code}) when calling the PutItem operation: {message}",
        is_transient=answer.status >= _SERVER_ERROR or code in _TRANSIENT,
        is_throttled=answer.status == _TOO_MANY_REQUESTS or code in _THROTTLED,
    )


def _read_refusal(document: dict[str, object], status: int) -> tuple[str, str]:
    """Return code and message; the code follows the name of its family, as in ``com.amazonaws.dynamodb#Code``."""
    kind = str(document.get("__type") or document.get("code") or status)
    message = document.get("message") or document.get("Message") or ""
    return kind.rpartition("#")[2].partition(":")[0], " ".join(str(message).split())
