"""Errors that a client sees."""

import pytest

from weir.errors import from_terminal
from weir.llm.errors import UpstreamRefusedError


def test_the_error_of_a_terminal_becomes_the_error_of_the_api() -> None:
    error = from_terminal({"message": "m", "type": "t", "param": "p", "code": "c", "status": 503})
    assert (error.status, error.error) == (503, {"message": "m", "type": "t", "param": "p", "code": "c"})
    assert from_terminal({}).status == 500


def test_an_error_of_an_llm_comes_out_of_its_terminal_with_all_members_and_headers() -> None:
    members = {"status": "RESOURCE_EXHAUSTED", "headers": 5, "metadata": {"raw": "busy"}}
    headers = {"retry-after": "7", "x-should-retry": "false"}
    given = UpstreamRefusedError("m", status=429, kind="t", code="c", param="p", members=members, headers=headers)
    error = from_terminal(given.terminal_error)
    assert (error.status, error.headers) == (429, headers)
    assert error.error == {"message": "m", "type": "t", "param": "p", "code": "c", **members}
    assert error.late_body["error"] == error.error | {"retry_after": "7"}


@pytest.mark.parametrize("headers", [5, ["a"], {"retry-after": 5}, {"retry-after": "a\r\nb: c"}, {"set-cookie": "a"}])
def test_headers_of_a_record_that_are_none_are_left_out(headers: object) -> None:
    assert from_terminal({"status": 429, "headers": headers}).headers == {}


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", 200, 999, None, True])
def test_a_status_of_a_record_that_is_none_of_an_error_is_a_500(status: object) -> None:
    assert from_terminal({"status": status}).status == 500
