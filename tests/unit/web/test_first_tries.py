"""Requests that wait for a retry, and the retry that gets each of them."""

import pytest

from web import first_tries
from web.first_tries import FirstTries, RequestIdentity

ASKED, OTHER = RequestIdentity("acme", "f1"), RequestIdentity("other", "f1")
KEPT_S = 120.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tries(clock: Clock) -> FirstTries:
    return FirstTries(KEPT_S, now=clock)


def test_each_retry_takes_another_request_and_the_earliest_is_offered_first(tries: FirstTries) -> None:
    for uid in ("a", "b", "c"):
        tries.left(ASKED, uid)
    tries.left(OTHER, "d")
    assert tries.without_reader(ASKED) == ["a", "b", "c"]
    assert [tries.take(ASKED, uid) for uid in ("b", "b", "a", "d")] == [True, False, True, False]
    assert tries.without_reader(ASKED) == ["c"]
    assert tries.taken(ASKED) == ["b", "a"]
    assert tries.without_reader(OTHER) == ["d"]


def test_a_request_that_is_read_is_not_offered(tries: FirstTries) -> None:
    with tries.reading(ASKED, "a"):
        with tries.reading(ASKED, "a"):
            pass
        assert tries.read(ASKED) == ["a"]
        tries.left(ASKED, "a")  # by one of two readers
        assert tries.without_reader(ASKED) == []
    assert tries.read(ASKED) == []


def test_a_reader_that_comes_back_takes_its_request_from_the_retries(tries: FirstTries) -> None:
    tries.left(ASKED, "a")
    with tries.reading(ASKED, "a"):
        assert tries.without_reader(ASKED) == []


def test_an_answer_that_did_not_arrive_is_given_to_a_retry(tries: FirstTries) -> None:
    with tries.reading(ASKED, "a"):
        pass
    tries.left(ASKED, "a")
    assert tries.without_reader(ASKED) == ["a"]
    assert tries.take(ASKED, "a")


def test_an_answer_that_was_read_is_not_given_to_a_retry_while_it_is_settled(tries: FirstTries, clock: Clock) -> None:
    with tries.reading(ASKED, "a"):
        pass
    assert tries.taken(ASKED) == ["a"]
    assert not tries.take(ASKED, "a", generated=True)
    clock.now += first_tries.TAKEN_S + 1
    assert tries.taken(ASKED) == []


def test_a_reading_that_broke_leaves_no_trace_of_its_own(tries: FirstTries) -> None:
    with pytest.raises(ConnectionError), tries.reading(ASKED, "a"):
        raise ConnectionError
    assert tries.read(ASKED) == tries.taken(ASKED) == tries.without_reader(ASKED) == []


def test_a_request_that_is_generated_here_is_taken_once_though_its_reader_was_elsewhere(tries: FirstTries) -> None:
    assert tries.take(ASKED, "a", generated=True)
    assert not tries.take(ASKED, "a", generated=True)
    assert not tries.take(ASKED, "b")


def test_a_request_waits_for_its_retry_for_so_long(tries: FirstTries, clock: Clock) -> None:
    tries.left(ASKED, "a")
    clock.now += KEPT_S - 1
    tries.left(ASKED, "b")
    clock.now += 2
    assert tries.without_reader(ASKED) == ["b"]
    assert not tries.take(ASKED, "a")


def test_no_request_waits_where_that_is_turned_off(clock: Clock) -> None:
    tries = FirstTries(0.0, now=clock)
    tries.left(ASKED, "a")
    assert tries.without_reader(ASKED) == []


def test_the_requests_that_wait_are_bounded(tries: FirstTries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_tries, "KEPT_MAX", 3)
    for n in range(10):
        tries.left(ASKED, f"left-{n}")
        with tries.reading(OTHER, f"read-{n}"):
            pass
    assert tries.without_reader(ASKED) == ["left-7", "left-8", "left-9"]
    assert tries.taken(OTHER) == ["read-7", "read-8", "read-9"]
