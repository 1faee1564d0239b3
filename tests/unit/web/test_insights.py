"""GET /insights and GET /quality: the handling of the query."""

import pytest
from aiohttp.test_utils import make_mocked_request

from web.insights import LIST_DEFAULT, _limit, _newest, _wanted
from weir.errors import InvalidRequestError

NAMES = ("tenant", "model", "status", "type")


@pytest.mark.parametrize("query", ["status=wrong", "type=weather", "type="])
def test_a_filter_that_names_nothing_is_named(query: str) -> None:
    with pytest.raises(InvalidRequestError) as told:
        _wanted(make_mocked_request("GET", f"/insights?{query}"), NAMES)
    assert told.value.error["param"] == query.partition("=")[0]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", ""])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(InvalidRequestError) as told:
        _limit(make_mocked_request("GET", f"/insights?limit={limit}"))
    assert told.value.error["param"] == "limit"


def test_the_tenant_is_told_by_the_query_or_else_by_its_header() -> None:
    headers = {"X-Tenant-ID": "acme"}
    assert _wanted(make_mocked_request("GET", "/insights", headers=headers), NAMES) == {"tenant": "acme"}
    asked = make_mocked_request("GET", "/insights?tenant=other&type=cost&more=1")
    assert _wanted(asked, NAMES) == {"tenant": "other", "type": "cost"}
    with pytest.raises(InvalidRequestError):  # of whom a gateway says that he is of another tenant
        _wanted(make_mocked_request("GET", "/insights?tenant=other", headers=headers), NAMES)
    assert _wanted(make_mocked_request("GET", "/insights"), NAMES) == {}


def test_a_list_is_bounded_and_the_newest_come_first() -> None:
    assert _limit(make_mocked_request("GET", "/insights")) == LIST_DEFAULT
    insights = [{"window_start": f"2027-01-0{day}"} for day in (3, 9, 1)]
    assert [one["window_start"][-1] for one in _newest(2, insights)] == ["9", "3"]
