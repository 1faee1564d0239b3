"""The load generator's reading of an answer's messages."""

from typing import Any

import pytest

from bench.load import figures, tokens_within
from bench.replies import Reply

SENT_AT = 100.0
END = {"done": True, "status": "completed"}


def token(index: int) -> bytes:
    return b"%d@00000100000000 " % index


def fed(*bodies: bytes, end: dict[str, Any] = END, seqs: list[int] | None = None, uid: str = "u") -> Reply:
    """An answer of three tokens; its messages come at 101, 102, …"""
    reply = Reply("u", 3, SENT_AT)
    numbers = seqs or list(range(len(bodies) + 1))
    for seq, body in zip(numbers, bodies, strict=False):
        assert not reply.feed({"uid": uid, "seq": seq, "done": False}, body, SENT_AT + 1 + seq)
    assert reply.feed({"uid": uid, "seq": numbers[-1], **end}, b"", SENT_AT + 9)
    return reply


def test_an_answer_of_one_message_for_each_token_is_complete() -> None:
    answer = fed(token(0), token(1), token(2)).answer
    assert answer.complete
    assert (answer.tokens, answer.messages) == (3, 4)
    assert (answer.first_at, answer.last_at) == (101.0, 103.0)
    assert list(answer.transits_s) == [1.0, 2.0, 3.0]


def test_several_tokens_may_come_in_one_message() -> None:
    answer = fed(token(0) + token(1), token(2)).answer
    assert answer.complete
    assert (answer.tokens, answer.messages) == (3, 3)
    assert answer.arrivals == [(101.0, 2), (102.0, 3)]


@pytest.mark.parametrize("kept", [[0, 2], [0, 1], [0, 1, 1, 2], [1, 0, 2], []])
def test_a_token_missing_doubled_or_out_of_order_is_an_error(kept: list[int]) -> None:
    assert "tokens or not in order" in fed(*(token(index) for index in kept)).answer.error


def test_text_between_the_tokens_is_an_error() -> None:
    assert not fed(token(0), b"so ", token(1), token(2)).answer.complete
    assert not fed(token(0), token(1), token(2) + b"rest").answer.complete


@pytest.mark.parametrize("seqs", [[0, 2, 1, 3], [0, 1, 2, 4], [0, 0, 1, 2], [1, 2, 3, 4]])
def test_messages_that_are_not_numbered_one_after_the_other_are_an_error(seqs: list[int]) -> None:
    assert "has the headers" in fed(token(0), token(1), token(2), seqs=seqs).answer.error


def test_a_message_of_another_answer_is_an_error() -> None:
    assert "has the headers" in fed(token(0), token(1), token(2), uid="v").answer.error


@pytest.mark.parametrize("end", [{"done": True}, {"done": True, "status": "failed"}])
def test_an_answer_that_did_not_complete_is_an_error(end: dict[str, Any]) -> None:
    assert "did not complete" in fed(token(0), token(1), token(2), end=end).answer.error


def test_messages_are_counted_for_those_that_are_whole() -> None:
    answers = [fed(token(0), token(1), token(2)).answer, fed(token(0) + token(1), token(2)).answer, fed().answer]
    of = figures(answers, [], begin_at=SENT_AT, end_at=SENT_AT + 10)
    assert (of.requests, of.errors, of.messages) == (2, 1, 3.5)
    assert tokens_within(answers[0], SENT_AT, SENT_AT + 10) == 3
