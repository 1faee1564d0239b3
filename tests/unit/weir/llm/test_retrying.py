"""Failures that are retried, the times of retries, and the errors for clients."""

import pytest

from weir.llm.errors import UpstreamError
from weir.llm.retrying import BACKOFF_MAX_S, BACKOFF_S, JITTER, NAMED_MAX_S, Retries, named_s


def failure(
    status: int = 503, *, transient: bool = True, code: str | None = None, headers: dict[str, str] | None = None
) -> UpstreamError:
    return UpstreamError("no", status=status, kind="k", code=code, headers=headers, transient=transient)


def test_pauses_grow_and_are_never_in_step() -> None:
    pauses = [Retries(left=9, until=1e9, made=made).pause_s(failure(), 0.0) or 0.0 for made in range(9)]
    for made, pause in enumerate(pauses):
        longest = min(BACKOFF_MAX_S, BACKOFF_S * 2**made)
        assert longest * (1 - JITTER) <= pause <= longest
    assert len({Retries(left=1, until=1e9).pause_s(failure(), 0.0) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (failure(), True),
        (failure(429), True),
        (failure(400, transient=False), False),
        (failure(400, transient=False, headers={"x-should-retry": "true"}), True),
        (failure(headers={"x-should-retry": "false"}), False),
        (failure(429, code="insufficient_quota"), False),
        (failure(429, headers={"retry-after": "3"}), True),
        (failure(429, headers={"retry-after": str(NAMED_MAX_S + 1)}), False),
        (failure(429, headers={"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}), False),
        (failure(429, headers={"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}), True),
        (failure(429, headers={"retry-after": "soon"}), True),
    ],
)
def test_what_may_help_is_tried_again(error: UpstreamError, pauses: bool) -> None:
    assert (Retries(left=1, until=1e9).pause_s(error, 0.0) is not None) == pauses


def test_a_pause_that_ends_too_late_is_not_begun() -> None:
    error = failure(429, headers={"retry-after": "3"})
    assert Retries(left=1, until=10.0).pause_s(error, 6.9) == 3.0
    assert Retries(left=1, until=10.0).pause_s(error, 7.1) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7.5"}, 7.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 99 Foo 1999"}, None),
    ],
)
def test_the_time_that_a_server_names_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert named_s(failure(headers=headers)) == seconds


@pytest.mark.parametrize(
    ("error", "made", "told"),
    [
        (failure(), 2, "false"),
        (failure(), 0, None),  # nothing was tried here: one place is the client's
        (failure(429, headers={"retry-after": "60"}), 2, None),
        (failure(429, code="insufficient_quota", headers={"retry-after": "60"}), 0, "false"),
        (failure(502, transient=False), 0, "false"),
        (failure(400, transient=False), 0, None),  # no client tries that again
        (failure(headers={"x-should-retry": "false"}), 0, "false"),
        (failure(headers={"x-should-retry": "true"}), 2, "false"),
    ],
)
def test_a_client_is_told_what_was_tried_to_its_end(error: UpstreamError, made: int, told: str | None) -> None:
    Retries(left=0, until=1e9, made=made).tell(error)
    assert error.headers.get("x-should-retry") == told
